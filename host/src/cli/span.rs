//! Durations as people write them: `30s`, `5m`, `8h`, `2d`, `1h30m`.

use std::time::Duration;

/// Longest duration accepted: a year. Past it a typing mistake is likelier than a wish.
const MAX: Duration = Duration::from_secs(366 * 86_400);

/// Reads one. A bare number is seconds.
///
/// # Errors
/// Says what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 30s, 5m, 8h, 2d or 1h30m");
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let (seconds, unit) = match rest[digits..].chars().next() {
            Some('s') => (1, 1),
            Some('m') => (60, 1),
            Some('h') => (3_600, 1),
            Some('d') => (86_400, 1),
            None if rest.len() == text.len() => (1, 0),
            _ => return Err(wrong()),
        };
        total = number.checked_mul(seconds).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[digits + unit..];
    }
    match Duration::from_secs(total) {
        Duration::ZERO => Err(wrong()),
        long if long > MAX => Err(format!("{text:?} is more than a year")),
        good => Ok(good),
    }
}

/// The largest two units: `3d4h`, `5m10s`, `12s`.
pub fn short(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let (size, unit) = units[first];
    let mut text = format!("{}{unit}", seconds / size);
    if let Some((next, unit)) = units.get(first + 1) {
        let remainder = seconds % size / next;
        if remainder > 0 {
            text.push_str(&format!("{remainder}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("8h", 28_800), ("2d", 172_800), ("1h30m", 5_400), ("45", 45)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "0", "s", "5 m", "5x", "-5s", "1h30", "5ms", "99999999999999999999s", "9999999d", "５s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ages_show_two_units_at_most() {
        for (seconds, text) in
            [(0, "0s"), (12, "12s"), (310, "5m10s"), (300, "5m"), (3 * 86_400 + 4 * 3_600 + 59, "3d4h"), (-5, "0s")]
        {
            assert_eq!(short(seconds), text);
        }
    }
}
