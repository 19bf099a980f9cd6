//! The few pages that orbitd shows people itself. Self-contained: no script, no picture, nothing from elsewhere.

use http::StatusCode;

/// Content-Security-Policy of our pages.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#14213d;--soft:#5b6478;--line:#dfe3ea;--back:#f5f7fa;--card:#fff;--mark:#2e5aac}\
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf4;--soft:#9aa5b8;--line:#2b3446;--back:#0e1420;--card:#161e2e;--mark:#8fb4ff}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--back);\
color:var(--ink);font:16px/1.55 system-ui,sans-serif}\
main{max-width:34rem;width:100%;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:2.25rem}\
.mark{display:flex;align-items:center;gap:.6rem;color:var(--mark);font-weight:600;letter-spacing:.02em}\
h1{font-size:1.45rem;line-height:1.25;margin:1.4rem 0 .6rem}p{margin:.4rem 0;overflow-wrap:anywhere}\
footer{margin-top:1.6rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.82rem}\
code{font-family:ui-monospace,monospace}a{color:var(--mark)}";

const MARK: &str = "<svg width=\"26\" height=\"26\" viewBox=\"0 0 26 26\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" aria-hidden=\"true\">\
<circle cx=\"13\" cy=\"13\" r=\"4\" fill=\"currentColor\" stroke=\"none\"/><ellipse cx=\"13\" cy=\"13\" rx=\"11\" ry=\"5\" transform=\"rotate(-28 13 13)\"/></svg>";

/// An error, for people. `detail` may come from a policy: it is escaped.
pub(super) fn error(status: StatusCode, title: &str, detail: &str, request_id: &str) -> String {
    let number = status.as_u16();
    page(title, detail, &format!("Status {number} · Request <code>{}</code>", escape(request_id)))
}

/// After signing out.
pub(super) fn signed_out() -> String {
    page(
        "You are signed out",
        "This browser's session for this workspace is over. To come back, open a login link.",
        "You can close this page.",
    )
}

fn page(title: &str, detail: &str, footer: &str) -> String {
    let (title, detail) = (escape(title), escape(detail));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><div class=\"mark\">{MARK}<span>orbitd</span></div>\
         <h1>{title}</h1><p>{detail}</p><footer>{footer}</footer></main></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_in_a_page_is_markup_that_we_did_not_write() {
        let page = super::error(http::StatusCode::FORBIDDEN, "t", "<script>alert('x')</script>", "\"><img>");
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    }
}
