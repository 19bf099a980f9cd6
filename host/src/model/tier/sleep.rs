//! `[sleep]` of a tier's file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Window;

/// Windows that one tier may name.
const MAX_WINDOWS: usize = 32;

/// When an idle instance of the tier is suspended and stopped. Without a section nothing sleeps.
///
/// ```toml
/// [sleep]
/// suspend_after_s = 900        # idle for 15 minutes: suspended (where the machine has swap), back in a tenth of a second
/// stop_after_s = 86400         # idle for a day: stopped, back in a second or three
/// keep_awake = ["Mon-Fri 08:00-18:00 Europe/Berlin"]
/// wake_every_s = 43200         # stopped for 12 hours: woken for the catalogue's refresh
/// max_awake_mb = 4096          # all running instances of the tier together
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Section")]
pub struct SleepRules {
    /// Seconds without a request or an open connection, then suspended. `None`: never.
    pub suspend_after_s: Option<u64>,
    /// Seconds without a request or an open connection, then stopped. `None`: never.
    pub stop_after_s: Option<u64>,
    /// At these times nothing falls asleep; what sleeps is not woken by them.
    pub keep_awake: Vec<Window>,
    /// Seconds asleep, then woken for a while, so that scheduled work (the catalogue's refresh) is done. `None`: never.
    pub wake_every_s: Option<u64>,
    /// MiB of resident memory that the tier's instances may have together before another one starts. `None`: no cap.
    pub max_awake_mb: Option<u64>,
}

/// As it is written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    suspend_after_s: Option<u64>,
    stop_after_s: Option<u64>,
    #[serde(default)]
    keep_awake: Vec<Window>,
    wake_every_s: Option<u64>,
    max_awake_mb: Option<u64>,
}

impl SleepRules {
    /// Idle for this long: suspended.
    pub fn suspend_after(&self) -> Option<Duration> {
        self.suspend_after_s.map(Duration::from_secs)
    }

    /// Idle for this long: stopped.
    pub fn stop_after(&self) -> Option<Duration> {
        self.stop_after_s.map(Duration::from_secs)
    }

    /// Asleep for this long: woken.
    pub fn wake_every(&self) -> Option<Duration> {
        self.wake_every_s.map(Duration::from_secs)
    }

    /// Whether instances of the tier ever fall asleep by themselves.
    pub fn any(&self) -> bool {
        self.suspend_after_s.is_some() || self.stop_after_s.is_some()
    }
}

impl TryFrom<Section> for SleepRules {
    type Error = String;

    fn try_from(section: Section) -> Result<Self, String> {
        let Section { suspend_after_s, stop_after_s, keep_awake, wake_every_s, max_awake_mb } = section;
        let times = [
            ("suspend_after_s", suspend_after_s, 1),
            ("stop_after_s", stop_after_s, 1),
            // More often than this it would never be asleep.
            ("wake_every_s", wake_every_s, 60),
            ("max_awake_mb", max_awake_mb, 1),
        ];
        for (key, value, least) in times {
            if value.is_some_and(|value| value < least) {
                return Err(format!("sleep.{key} must be {least} or more; leave it out for never"));
            }
        }
        if let (Some(suspend), Some(stop)) = (suspend_after_s, stop_after_s)
            && stop <= suspend
        {
            return Err(format!(
                "sleep.stop_after_s = {stop} must be longer than suspend_after_s = {suspend}: a stopped instance is not suspended"
            ));
        }
        if keep_awake.len() > MAX_WINDOWS {
            return Err(format!("sleep.keep_awake has {} windows, {MAX_WINDOWS} are allowed", keep_awake.len()));
        }
        Ok(Self { suspend_after_s, stop_after_s, keep_awake, wake_every_s, max_awake_mb })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SleepRules, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_section_nothing_sleeps_and_a_senseless_one_is_named() {
        assert!(!SleepRules::default().any());
        let rules = parse("suspend_after_s = 900\nstop_after_s = 86400\nkeep_awake = [\"Mon-Fri 08:00-18:00 UTC\"]");
        let rules = rules.expect("good");
        assert!(rules.any() && rules.keep_awake.len() == 1);
        assert_eq!(rules.suspend_after(), Some(Duration::from_secs(900)));
        for (text, named) in [
            ("suspend_after_s = 0", "suspend_after_s"),
            ("suspend_after_s = 60\nstop_after_s = 60", "stop_after_s"),
            ("wake_every_s = 5", "wake_every_s"),
            ("sleep_after = 3", "sleep_after"),
            ("keep_awake = [\"Funday 08:00-09:00\"]", "Funday"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(named), "{error}");
        }
    }
}
