//! Why an instance did not come up or ended, in words for an operator. Pure but for its inputs.

use std::collections::BTreeMap;

use crate::{
    driver::{Exit, FailurePhase, Report},
    ids::InstanceId,
};

/// Log lines that a cause quotes, and characters of each.
pub(super) const QUOTED_LINES: usize = 20;
const QUOTED_CHARS: usize = 300;
/// Shorter values would black out half of the text.
const MIN_REDACTED: usize = 4;

/// The cause: the launcher's own words where it had any, else how the process ended; then the end of the log.
pub(super) fn of_end(was_serving: bool, exit: Option<Exit>, report: &Report, log: &[String]) -> String {
    let when = if was_serving { "while it served" } else { "while it started" };
    let mut text = match (&report.failed, exit) {
        (Some(failure), _) if !was_serving => {
            let phase = match failure.phase {
                FailurePhase::Message => "reading its start message",
                FailurePhase::Config => "reading its configuration",
                FailurePhase::Load => "loading its plugins",
                FailurePhase::Start => "starting Backstage",
                FailurePhase::Listen => "opening its port",
            };
            format!("the instance failed {phase}: {}", failure.reason)
        }
        (_, Some(exit)) => format!("the instance ended with {exit} {when}"),
        (_, None) => format!("the instance ended {when}"),
    };
    append_log(&mut text, log);
    text
}

/// Of the workspace's log, what this instance wrote: the driver marks where it begins.
pub(super) fn lines_of(id: InstanceId, mut log: Vec<String>) -> Vec<String> {
    let mark = format!("instance {id} starts");
    match log.iter().rposition(|line| line.contains(&mark)) {
        Some(position) => log.split_off(position + 1),
        None => log,
    }
}

/// Adds the end of the log.
pub(super) fn append_log(text: &mut String, log: &[String]) {
    let from = log.len().saturating_sub(QUOTED_LINES);
    if !log.is_empty() {
        text.push_str(". Its last log lines:");
    }
    for line in &log[from..] {
        text.push('\n');
        text.extend(line.chars().filter(|c| !c.is_control()).take(QUOTED_CHARS));
    }
}

/// Takes values of secrets out of a text.
pub(super) fn redact<'a>(text: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut values: Vec<&str> = secrets.into_iter().filter(|value| value.len() >= MIN_REDACTED).collect();
    // The longest first: one secret may hold another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.into_iter().fold(text, |text, value| text.replace(value, "***"))
}

/// The values as text; a binary one can't be in a log line.
pub(super) fn texts(secrets: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    secrets.values().filter_map(|value| std::str::from_utf8(value).ok()).flat_map(str::lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Failure;

    #[test]
    fn the_launchers_words_come_first_and_the_log_is_cut() {
        let log: Vec<String> = (0..50).map(|i| format!("line {i} {}", "x".repeat(1_000))).collect();
        let failed = Failure { phase: FailurePhase::Start, reason: "plugin catalog: no such column".into() };
        let report = Report { failed: Some(failed), ..Report::default() };
        let text = of_end(false, Some(Exit::Code(70)), &report, &log);
        assert!(text.starts_with("the instance failed starting Backstage: plugin catalog"), "{text}");
        assert_eq!(text.lines().count(), 1 + QUOTED_LINES);
        assert!(text.lines().all(|line| line.len() <= 400) && text.contains("line 49"));
        let text = of_end(true, Some(Exit::Signal(9)), &report, &[]);
        assert_eq!(text, "the instance ended with signal 9 (killed: out of memory?) while it served");
    }

    #[test]
    fn an_earlier_instances_lines_are_not_quoted() {
        let id = InstanceId::generate();
        let log = ["old".to_owned(), format!("{{\"message\":\"instance {id} starts\"}}"), "new".to_owned()];
        assert_eq!(lines_of(id, log.to_vec()), ["new"]);
        assert_eq!(lines_of(InstanceId::generate(), log.to_vec()).len(), 3, "the mark was rotated away");
    }

    #[test]
    fn secrets_are_taken_out() {
        let secrets = BTreeMap::from([("A".to_owned(), b"hush-hush".to_vec()), ("B".to_owned(), b"hush".to_vec())]);
        let text = redact("token hush-hush and hush".to_owned(), texts(&secrets));
        assert_eq!(text, "token *** and ***");
    }
}
