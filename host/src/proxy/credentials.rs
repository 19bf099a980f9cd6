//! Where a request's token sits, and the session cookie. Pure.
//!
//! A token comes as `Authorization: Bearer` or in the session cookie; the browser app sends both (its bearer is a Backstage
//! token of ours, see [`super::session`]). Both fields are taken out of the request here: no policy and no instance sees
//! them. Two of either are refused, because two programs would take two different ones.

use http::{
    HeaderMap, HeaderValue,
    header::{self, Entry},
};

use super::validate::Reject;

/// The cookie on plain http.
const PLAIN: &str = "orbit_session";
/// The cookie on https: browsers accept this prefix only from the host itself, over TLS, for the whole host.
const PREFIXED: &str = "__Host-orbit_session";
/// Backstage's own session cookie: a bearer wins over it, and we always send one.
const BACKSTAGE: &[u8] = b"backstage-auth";

/// What a request brought to prove who it is.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// Checked once, when it was taken.
    bearer: Option<HeaderValue>,
    cookie: Option<String>,
}

impl Credentials {
    /// Takes the credentials out of the headers. Other cookies stay, byte for byte.
    pub fn take(headers: &mut HeaderMap, https: bool) -> Result<Self, Reject> {
        let bearer = match headers.entry(header::AUTHORIZATION) {
            Entry::Vacant(_) => None,
            Entry::Occupied(entry) => {
                let (_, mut values) = entry.remove_entry_mult();
                match (values.next(), values.next()) {
                    (Some(value), None) if bearer_text(&value).is_some() => Some(value),
                    _ => return Err(Reject::Credentials),
                }
            }
        };
        Ok(Self { bearer, cookie: take_cookie(headers, cookie_name(https))? })
    }

    /// The bearer token.
    pub fn bearer(&self) -> Option<&str> {
        self.bearer.as_ref().and_then(|value| std::str::from_utf8(value.as_bytes().get(7..)?).ok())
    }

    /// The session cookie's token.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }
}

/// `Bearer`, one space, one token (RFC 6750 section 2.1; the scheme in any case). Whether the token is one is for
/// [`crate::authn`] to say: here only that it is one value.
fn bearer_text(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let single =
        |token: &[u8]| !token.is_empty() && !token.iter().any(|b| matches!(b, b' ' | b'\t' | b',' | b';' | b'"'));
    if !scheme.eq_ignore_ascii_case(b"bearer ") || !single(token) || !token.is_ascii() {
        return None;
    }
    std::str::from_utf8(token).ok()
}

fn cookie_name(https: bool) -> &'static str {
    if https { PREFIXED } else { PLAIN }
}

/// Whether a cookie of this name is ours, in either spelling.
pub(super) fn is_session_cookie(name: &[u8]) -> bool {
    name == PLAIN.as_bytes() || name == PREFIXED.as_bytes()
}

/// Takes our cookies and Backstage's out; the token of the one named `wanted`.
fn take_cookie(headers: &mut HeaderMap, wanted: &str) -> Result<Option<String>, Reject> {
    fn pairs(value: &HeaderValue) -> impl Iterator<Item = (&[u8], &[u8])> {
        value.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
            match pair.iter().position(|b| *b == b'=') {
                Some(at) => (&pair[..at], pair),
                None => (pair, pair),
            }
        })
    }
    let concerns = |name: &[u8]| is_session_cookie(name) || name == BACKSTAGE;
    if !headers.get_all(header::COOKIE).iter().any(|value| pairs(value).any(|(name, _)| concerns(name))) {
        return Ok(None);
    }
    let Entry::Occupied(entry) = headers.entry(header::COOKIE) else { return Ok(None) };
    let (_, values) = entry.remove_entry_mult();
    let values: Vec<_> = values.collect();
    let mut token: Option<String> = None;
    let mut kept: Vec<&[u8]> = Vec::new();
    for (name, pair) in values.iter().flat_map(pairs) {
        if name == wanted.as_bytes() {
            let text =
                std::str::from_utf8(&pair[(name.len() + 1).min(pair.len())..]).map_err(|_| Reject::Credentials)?;
            // A sibling's script can plant a second one for the whole domain: then nobody knows whose it is.
            if token.replace(text.to_owned()).is_some() {
                return Err(Reject::Credentials);
            }
        } else if !concerns(name) {
            kept.push(pair);
        }
    }
    if !kept.is_empty()
        && let Ok(rest) = HeaderValue::from_bytes(&kept.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, rest);
    }
    // A browser that was signed out may send an empty one.
    Ok(token.filter(|token| !token.is_empty()))
}

/// `Set-Cookie` for a session. `lifetime_s`: seconds until the token's end; 0 takes the cookie away.
pub(super) fn set_cookie(token: &str, lifetime_s: i64, https: bool) -> Option<HeaderValue> {
    let secure = if https { "; Secure" } else { "" };
    let name = cookie_name(https);
    let value = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{secure}", lifetime_s.max(0));
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(fields: &[(&'static str, &'static str)], https: bool) -> Result<(Credentials, HeaderMap), Reject> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Credentials::take(&mut headers, https).map(|credentials| (credentials, headers))
    }

    #[test]
    fn one_bearer_of_the_right_shape() {
        for good in ["Bearer a.b-c_d", "bearer a.b-c_d", "BEARER a.b-c_d"] {
            let (credentials, headers) = take(&[("authorization", good)], false).expect(good);
            assert_eq!(credentials.bearer(), Some("a.b-c_d"));
            assert!(headers.is_empty(), "taken out");
        }
        for bad in ["", "Bearer", "Bearer ", "Bearer  a", "Bearer a b", "Bearer a,b", "Basic YTpi", "a.b.c"] {
            assert_eq!(take(&[("authorization", bad)], false).err(), Some(Reject::Credentials), "{bad:?}");
        }
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert_eq!(take(&two, false).err(), Some(Reject::Credentials));
    }

    #[test]
    fn only_our_cookies_leave_the_request() {
        let (credentials, headers) =
            take(&[("cookie", "a=1; orbit_session=t.o.k; backstage-auth=x; b=2=3"), ("cookie", "c")], false)
                .expect("fine");
        assert_eq!(credentials.cookie(), Some("t.o.k"));
        assert_eq!(headers[header::COOKIE], "a=1; b=2=3; c");
        let (credentials, headers) = take(&[("cookie", "orbit_session=t")], false).expect("fine");
        assert_eq!(credentials.cookie(), Some("t"));
        assert!(headers.is_empty());
        let (credentials, headers) = take(&[("cookie", "a=1;b=2")], false).expect("fine");
        assert_eq!((credentials.cookie(), &headers[header::COOKIE]), (None, &HeaderValue::from_static("a=1;b=2")));
        let two = [("cookie", "orbit_session=a; orbit_session=b")];
        assert_eq!(take(&two, false).err(), Some(Reject::Credentials));
    }

    #[test]
    fn on_https_only_the_prefixed_cookie_counts() {
        let both = [("cookie", "orbit_session=planted; __Host-orbit_session=real")];
        let (credentials, headers) = take(&both, true).expect("fine");
        assert_eq!(credentials.cookie(), Some("real"));
        assert!(headers.is_empty(), "the other one is ours too, and goes");
        let cookie = set_cookie("t", 60, true).expect("a value");
        assert_eq!(cookie, "__Host-orbit_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
    }
}
