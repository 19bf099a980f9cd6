//! What policies would get to see of a request: the parts of the pipeline that come before them, for `explain`.

use http::{HeaderMap, Method};

use super::{credentials::Credentials, headers, path::check_path, validate::Reject};

/// Takes away the headers that no policy sees, and refuses what no policy is asked about: a method that is not known here, a path
/// that two programs could read as two.
///
/// # Errors
/// What the client would read.
pub fn as_policies_see(method: &str, target: &str, headers: &mut HeaderMap) -> Result<(), String> {
    if method.parse::<Method>().is_err() {
        return Err(format!("{method:?} is no method"));
    }
    let path = target.split('?').next().unwrap_or_default();
    let refused = |reject: Reject| {
        let (status, _, sentence) = reject.describe();
        format!("no policy is asked: {status} {sentence}")
    };
    check_path(path).map_err(refused)?;
    Credentials::take(headers, false).map_err(refused)?;
    headers::strip_request(headers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_policy_sees_is_gone_and_what_has_two_readings_is_refused() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("authorization", "Bearer t"), ("connection", "close"), ("x-forwarded-for", "1"), ("x-fine", "1")]
        {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        as_policies_see("GET", "/api/catalog?x=%2f", &mut headers).expect("fine");
        assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-fine"]);
        for (method, path) in [("GET", "/API/catalog"), ("GET", "x"), ("GET", "/a/../b"), ("G ET", "/")] {
            assert!(as_policies_see(method, path, &mut HeaderMap::new()).is_err(), "{method} {path}");
        }
    }
}
