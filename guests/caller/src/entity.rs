//! Names of Backstage entities from names in tokens.
//!
//! Two users must never become one entity. A name that Backstage takes as it is stays; any other is cut down to what
//! Backstage takes and gets a digest of the original behind it, and so does a name that already looks like such a result.

/// Backstage's limit for an entity name, characters.
const LONGEST: usize = 63;
/// Hex digits of the digest: 64 bits.
const DIGITS: usize = 16;

/// The entity name for a user or a group; injective.
pub fn name(text: &str) -> String {
    if is_name(text) && !has_digest(text) {
        return text.to_string();
    }
    let mut clean = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            clean.push(c.to_ascii_lowercase());
        } else if matches!(c, '.' | '_' | '-') && clean.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            clean.push(c);
        } else if clean.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            clean.push('-');
        }
        if clean.len() == LONGEST - DIGITS - 1 {
            break;
        }
    }
    let clean = clean.trim_end_matches(['.', '_', '-']);
    let digest = digest(text);
    if clean.is_empty() { format!("x-{digest}") } else { format!("{clean}-{digest}") }
}

/// What Backstage takes: lower-case letters and digits, single `-`, `_` or `.` between them, at most 63. (It takes capitals
/// too, and then compares without regard to case: here they count as another name.)
pub fn is_name(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= LONGEST
        && bytes.iter().enumerate().all(|(at, &b)| {
            alphanumeric(b)
                || (matches!(b, b'-' | b'_' | b'.')
                    && at > 0
                    && alphanumeric(bytes[at - 1])
                    && bytes.get(at + 1).is_some_and(|&next| alphanumeric(next)))
        })
}

fn has_digest(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(_, end)| end.len() == DIGITS && end.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `alice` of `alice@example.com`, where `example.com` is one of `domains`.
pub fn strip_domain<'a>(name: &'a str, domains: &[String]) -> &'a str {
    match name.rsplit_once('@') {
        Some((local, domain)) if domains.iter().any(|known| known.eq_ignore_ascii_case(domain)) => local,
        _ => name,
    }
}

/// The first 64 bits of SHA-256.
fn digest(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_and_no_two_become_one() {
        assert_eq!(name("alice"), "alice");
        assert_eq!(name("team-42.x_y"), "team-42.x_y");
        let odd = [
            "alice@example.com",
            "alice-example.com",
            "Alice",
            "ALICE",
            "ali ce",
            "ali-ce",
            "-",
            "@",
            "ä",
            "a--b",
            "a-b",
        ];
        let mut seen: Vec<String> = odd.iter().map(|text| name(text)).collect();
        seen.push(name("alice"));
        // A name made to look like another one's result.
        seen.push(name(&name("alice@example.com")));
        let count = seen.len();
        for one in &seen {
            assert!(is_name(one), "{one}");
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert!(is_name(&name(&"x".repeat(200))));
    }

    #[test]
    fn a_known_domain_is_dropped() {
        let domains = ["example.com".to_string()];
        assert_eq!(strip_domain("alice@Example.com", &domains), "alice");
        assert_eq!(strip_domain("alice@evil.com", &domains), "alice@evil.com");
        assert_eq!(strip_domain("alice", &domains), "alice");
    }
}
