//! What the daemon says of itself: tracing, to stderr, as text or JSON lines. Called once, first thing in `serve`.
//!
//! Every event is one line, whatever a client put into a path or a header: control characters are escaped and the length
//! has a limit.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::settings::LogSettings;

/// Bytes of one log line; past it the rest is replaced by a mark.
const MAX_LINE_BYTES: usize = 16 << 10;

/// Starts logging and makes panics part of the log.
///
/// # Errors
/// `log.filter` is no tracing filter, or logging was started before.
pub fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = parse_filter(&settings.filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Stderr);
    let started = if settings.json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else if io::stderr().is_terminal() {
        // A person watches: the time of day is enough of a date, and the source module only makes lines long.
        builder.compact().try_init()
    } else {
        builder.try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging was started twice: {error}"))?;
    log_panics();
    Ok(())
}

/// The filter, or an error that names the setting.
pub fn parse_filter(text: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder()
        .parse(text)
        .with_context(|| format!("log.filter = {text:?} is not a tracing filter; examples: info, orbitd=debug,info"))
}

/// A panic ends its task (tokio catches it there); this makes it one line of the log, with its place.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        let message = panic.payload_as_str().unwrap_or("(no text)");
        tracing::error!(place, thread, "panic: {message}");
    }));
}

/// Stderr, one line per event.
struct Stderr;

/// One event on its way out. The formatter hands over a whole event in one call.
struct Line;

impl MakeWriter<'_> for Stderr {
    type Writer = Line;
    fn make_writer(&self) -> Line {
        Line
    }
}

impl Write for Line {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // A log that can't be written (a closed pipe, a full disk) must not stop the daemon.
        let _ = io::stderr().lock().write_all(&one_line(event));
        Ok(event.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `event` as exactly one line: control characters escaped, at most [`MAX_LINE_BYTES`].
fn one_line(event: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if line.len() >= MAX_LINE_BYTES {
            // Also in a JSON line: a reader that fails on it sees the mark, and the line is not taken for a whole one.
            line.push_str("…[cut]");
            break;
        }
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let line = String::from_utf8(one_line(b"path=/a\nFAKE ok\x1b[31m\r\n")).expect("text");
        assert_eq!(line, "path=/a\\nFAKE ok\\u{1b}[31m\\r\n");
        let long = one_line(&vec![b'x'; MAX_LINE_BYTES * 2]);
        assert!(long.len() < MAX_LINE_BYTES + 16 && long.ends_with("…[cut]\n".as_bytes()));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        assert!(parse_filter("orbitd=debug,info").is_ok());
        let error = parse_filter("orbitd=loud").expect_err("not a level").to_string();
        assert!(error.contains("log.filter"), "{error}");
    }
}
