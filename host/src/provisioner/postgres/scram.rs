//! A SCRAM-SHA-256 verifier (RFC 5802, RFC 7677; PostgreSQL stores it in `pg_authid.rolpassword`): made here, so that the password
//! itself never reaches the server's statement log.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};

/// PostgreSQL's own default. The password has 256 random bits: more would slow logins down and add nothing.
const ITERATIONS: std::num::NonZeroU32 = match std::num::NonZeroU32::new(4096) {
    Some(iterations) => iterations,
    None => unreachable!(),
};

/// `SCRAM-SHA-256$4096:<salt>$<stored key>:<server key>`.
pub(super) fn verifier(password: &str, salt: &[u8; 16]) -> String {
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!("SCRAM-SHA-256${ITERATIONS}:{}${}:{}", B64.encode(salt), B64.encode(stored), B64.encode(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_the_one_of_the_rfc() {
        // RFC 7677, section 3: user "user", password "pencil", this salt, 4096 rounds; its proof and signature rest on these keys.
        let salt: [u8; 16] = B64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64").try_into().expect("16 bytes");
        assert_eq!(
            verifier("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }
}
