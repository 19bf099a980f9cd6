//! A time of the week: `Mon-Fri 08:00-18:00 Europe/Berlin`. Days and zone may be left out: every day, UTC.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp, ToSpan,
    civil::{Time, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Days of the week, from a time of day to another, in a time zone. It may go past midnight (`22:00-06:00`): it then belongs
/// to the day on which it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Monday first.
    days: [bool; 7],
    from: Time,
    /// Exclusive.
    to: Time,
    zone: TimeZone,
    text: String,
}

impl Window {
    /// When it ends, seconds since 1970, if `at` (the same) lies in it.
    pub fn end_of(&self, at: i64) -> Option<i64> {
        let now = Timestamp::from_second(at).ok()?.to_zoned_datetime(self.zone.clone());
        let today = now.date();
        // One that began yesterday may still be open.
        [today, today.yesterday().ok()?].into_iter().find_map(|day| {
            if !self.days[usize::try_from(day.weekday().to_monday_zero_offset()).ok()?] {
                return None;
            }
            let last = if self.to > self.from { day } else { day.checked_add(1.day()).ok()? };
            let begin = day.to_datetime(self.from).to_zoned_datetime(self.zone.clone()).ok()?.timestamp().as_second();
            let end = last.to_datetime(self.to).to_zoned_datetime(self.zone.clone()).ok()?.timestamp().as_second();
            (begin <= at && at < end).then_some(end)
        })
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |reason: String| {
            format!("{text:?} is no window: {reason}; write it like \"Mon-Fri 08:00-18:00 Europe/Berlin\"")
        };
        let mut words = text.split_ascii_whitespace().peekable();
        let first = words.peek().copied().unwrap_or_default();
        let days = if first.starts_with(|c: char| c.is_ascii_digit()) {
            [true; 7]
        } else {
            words.next();
            parse_days(first).map_err(&refuse)?
        };
        let times = words.next().ok_or_else(|| refuse("it has no times".to_owned()))?;
        let (from, to) = times.split_once('-').ok_or_else(|| refuse(format!("{times:?} is no span of time")))?;
        let (from, to) = (parse_time(from).map_err(&refuse)?, parse_time(to).map_err(&refuse)?);
        let zone = match words.next() {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| refuse(format!("{name:?} is no time zone")))?,
        };
        match words.next() {
            Some(more) => Err(refuse(format!("{more:?} is too much"))),
            None => Ok(Self { days, from, to, zone, text: text.to_owned() }),
        }
    }
}

/// `Mon`, `Mon-Fri`, `Mon,Wed,Sat-Sun`.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let found = DAYS.iter().position(|(day, _)| day.eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("{name:?} is no day (Mon, Tue, Wed, Thu, Fri, Sat, Sun)"))
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        // Over the weekend too: Sat-Mon.
        loop {
            days[at] = true;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}

fn parse_time(text: &str) -> Result<Time, String> {
    let wrong = || format!("{text:?} is no time of day (08:00)");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.len() <= 2 && !text.starts_with('-'));
    match (number(hour), number(minute)) {
        // The end of a day is the begin of the next.
        (Some(24), Some(0)) => Ok(Time::midnight()),
        (Some(hour), Some(minute)) => Time::new(hour, minute, 0, 0).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl TryFrom<String> for Window {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Window> for String {
    fn from(window: Window) -> String {
        window.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_second()
    }
    fn window(text: &str) -> Window {
        text.parse().expect(text)
    }

    #[test]
    fn a_window_has_days_times_and_a_zone() {
        let office = window("Mon-Fri 08:00-18:00 Europe/Berlin");
        // 2026-11-24 is a Tuesday; Berlin is at UTC+1 then, at UTC+2 in summer.
        assert_eq!(office.end_of(at("2026-11-24T06:59:59Z")), None);
        assert_eq!(office.end_of(at("2026-11-24T07:00:00Z")), Some(at("2026-11-24T17:00:00Z")));
        assert_eq!(office.end_of(at("2026-11-24T17:00:00Z")), None, "the end is not in it");
        assert_eq!(office.end_of(at("2026-07-21T06:30:00Z")), Some(at("2026-07-21T16:00:00Z")), "summer");
        assert_eq!(office.end_of(at("2026-11-28T10:00:00Z")), None, "Saturday");
        let night = window("Fri 22:00-06:00");
        assert_eq!(night.end_of(at("2026-11-28T05:00:00Z")), Some(at("2026-11-28T06:00:00Z")), "begun on Friday");
        assert_eq!(night.end_of(at("2026-11-27T05:00:00Z")), None, "Thursday's night is not in it");
        assert!(window("00:00-24:00").end_of(at("2026-11-24T23:59:59Z")).is_some(), "always");
        assert!(window("Sat-Mon 10:00-11:00 UTC").end_of(at("2026-11-29T10:30:00Z")).is_some(), "over the weekend");
    }

    #[test]
    fn what_is_no_window_is_named() {
        for (text, named) in [
            ("", "no day"),
            ("Mon", "no times"),
            ("Mon 8-18", "no time of day"),
            ("Mon 25:00-26:00", "no time of day"),
            ("Mon 08:00-18:00 Mars/Base", "no time zone"),
            ("Mon 08:00-18:00 UTC now", "too much"),
            ("Moon 08:00-18:00", "no day"),
        ] {
            let error = text.parse::<Window>().expect_err(text);
            assert!(error.contains(named), "{error}");
        }
    }
}
