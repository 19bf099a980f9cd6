//! A share of something, as people write it: `"10%"`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// 0 % to 100 %, kept in millionths. Written `"10%"` or `"0.5%"`, at most four digits behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u32);

const WHOLE: u32 = 1_000_000;

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(WHOLE);

    /// So many whole percent, at most 100.
    pub const fn percent(percent: u32) -> Self {
        Self(if percent > 100 { WHOLE } else { percent * (WHOLE / 100) })
    }

    /// Whether a point of a circle, given as an even spread of 64 bits, lies in it. A point that is in a share is in every
    /// larger one.
    pub fn holds(self, point: u64) -> bool {
        let scaled = (u128::from(point) * u128::from(WHOLE)) >> 64;
        scaled < u128::from(self.0)
    }

    /// Whether `part` is a larger share of `whole` than this.
    pub fn exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(WHOLE) > u128::from(whole) * u128::from(self.0)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        match rest {
            0 => write!(f, "{whole}%"),
            _ => write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no share: write it like \"10%\" or \"0.5%\", at most 100%");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || rest.len() > 4 || !digits(whole) || !digits(rest) {
            return Err(wrong());
        }
        let parts: u32 = format!("{whole}{rest:0<4}").parse().map_err(|_| wrong())?;
        if parts <= WHOLE { Ok(Self(parts)) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Share {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_back_what_it_wrote() {
        for (text, parts) in [("10%", 100_000), ("0.5%", 5_000), ("100%", WHOLE), ("0%", 0), ("0.0001%", 1)] {
            let share: Share = text.parse().expect(text);
            assert_eq!((share.0, share.to_string().as_str()), (parts, text));
        }
        for bad in ["", "10", "%", "101%", "-1%", "1e1%", "0.00001%", "ten%", "1000%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_point_of_a_share_is_in_every_larger_one() {
        assert!(!Share::NONE.holds(0) && Share::ALL.holds(u64::MAX));
        let point = u64::MAX / 20;
        assert!(!Share::percent(4).holds(point) && Share::percent(6).holds(point));
        assert!(Share::percent(5).exceeded_by(6, 100) && !Share::percent(5).exceeded_by(5, 100));
    }
}
