//! The few pages that orbitd shows people itself. Self-contained: no picture, nothing from elsewhere, and no script but the one
//! that follows a workspace's waking, which its page's policy names by digest.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, StatusCode};

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

/// Heading of the page that follows a workspace's waking.
pub(super) const WAKING_TITLE: &str = "Your workspace is on its way";

/// Asks the page's own address how far it is (so the answer is for whoever may open it), and opens it once it is there.
const FOLLOW: &str = "\
(()=>{const say=document.querySelector('p');const began=Date.now();const look=async()=>{try{\
const answer=await fetch(location.href,{headers:{'X-Orbit-Progress':'1',Accept:'application/json'},cache:'no-store'});\
if(answer.status!==503){location.reload();return}say.textContent=(await answer.json()).detail;\
}catch{}document.querySelector('footer').textContent=Math.round((Date.now()-began)/1000+2)+' s';setTimeout(look,500)};\
setTimeout(look,300)})()";

/// Where scripts don't run, the page loads itself again.
const FOLLOW_WITHOUT_SCRIPT: &str = "<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>";

const MARK: &str = "<svg width=\"26\" height=\"26\" viewBox=\"0 0 26 26\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2\" aria-hidden=\"true\">\
<circle cx=\"13\" cy=\"13\" r=\"4\" fill=\"currentColor\" stroke=\"none\"/><ellipse cx=\"13\" cy=\"13\" rx=\"11\" ry=\"5\" transform=\"rotate(-28 13 13)\"/></svg>";

/// An error, for people. `detail` may come from a policy: it is escaped.
pub(super) fn error(status: StatusCode, title: &str, detail: &str, request_id: &str) -> String {
    let number = status.as_u16();
    page(title, detail, &format!("Status {number} · Request <code>{}</code>", escape(request_id)))
}

/// While a workspace wakes or starts. Follows how far it is and then opens it.
pub(super) fn waking(detail: &str) -> String {
    let text = page(WAKING_TITLE, detail, "2 s");
    text.replace("</head>", &format!("{FOLLOW_WITHOUT_SCRIPT}</head>"))
        .replace("</main>", &format!("</main><script>{FOLLOW}</script>"))
}

/// Content-Security-Policy of [`waking`].
pub(super) fn waking_policy() -> HeaderValue {
    static WAKING: LazyLock<HeaderValue> = LazyLock::new(|| {
        let script = BASE64_STANDARD.encode(digest::digest(&digest::SHA256, FOLLOW.as_bytes()));
        let policy = format!("{POLICY}; script-src 'sha256-{script}'; connect-src 'self'");
        HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(POLICY))
    });
    WAKING.clone()
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
        let page = super::waking("<script>alert('x')</script>");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(super::waking_policy().to_str().is_ok_and(|policy| policy.contains("script-src 'sha256-")));
    }
}
