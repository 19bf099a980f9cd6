//! What users see: tables, sections, progress. The only place that formats.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;
use time::OffsetDateTime;

use super::span;

/// Characters of one table cell; past it `…`.
const MAX_CELL: usize = 100;

/// One line on stdout. A closed stdout (`| head`) is no error.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
}

/// One line on stderr: what is said on the way to a result.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

/// Indented JSON on stdout.
pub fn json(value: &Value) {
    line(format!("{value:#}"));
}

/// How long ago, in two units.
pub fn age(then: OffsetDateTime, now: OffsetDateTime) -> String {
    span::short((now - then).whole_seconds())
}

/// Text from elsewhere, fit for a terminal: control characters escaped.
pub fn clean(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Rows under a head, columns as wide as their widest cell.
pub struct Table {
    rows: Vec<Row>,
    indent: usize,
}

enum Row {
    Cells(Vec<String>),
    /// A sentence that belongs to the row above; it makes no column wider.
    Note(String),
}

impl Table {
    /// With these column heads.
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { rows: vec![Row::Cells(head.map(str::to_owned).into())], indent: 0 }
    }
    /// Without heads.
    pub fn plain() -> Self {
        Self { rows: Vec::new(), indent: 0 }
    }
    /// Moved to the right by this many columns.
    pub fn indented(mut self, columns: usize) -> Self {
        self.indent = columns;
        self
    }
    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(Row::Cells(cells.map(|cell| cut(&clean(&cell))).into()));
    }
    /// A sentence under the last row, whole.
    pub fn note(&mut self, text: &str) {
        self.rows.push(Row::Note(clean(text)));
    }
    /// The whole, without a last line end. The last column is not padded or cut short.
    pub fn render(&self) -> String {
        let cells = || {
            self.rows.iter().filter_map(|row| match row {
                Row::Cells(cells) => Some(cells),
                Row::Note(_) => None,
            })
        };
        let columns = cells().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| cells().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let render_row = |row: &Row| {
            let mut text = " ".repeat(self.indent);
            let cells = match row {
                Row::Cells(cells) => cells,
                Row::Note(note) => return format!("{text}    {note}"),
            };
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width - cell.chars().count() + 2));
            }
            text.trim_end().to_owned()
        };
        self.rows.iter().map(render_row).collect::<Vec<_>>().join("\n")
    }
}

fn cut(cell: &str) -> String {
    if cell.chars().count() <= MAX_CELL {
        return cell.to_owned();
    }
    cell.chars().take(MAX_CELL - 1).chain(['…']).collect()
}

/// A long wait: on a terminal one line that is refreshed, elsewhere one line per change.
pub struct Progress {
    live: bool,
    quiet: bool,
    last: String,
}

impl Progress {
    /// On stderr; silent for `--json`.
    pub fn new(quiet: bool) -> Self {
        Self { live: io::stderr().is_terminal(), quiet, last: String::new() }
    }
    /// The state now and the seconds so far.
    pub fn update(&mut self, state: &str, elapsed: std::time::Duration) {
        if self.quiet {
            return;
        }
        let seconds = elapsed.as_secs();
        if self.live {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K{state} … {seconds} s");
        } else if state != self.last {
            note(format!("{state} ({seconds} s)"));
        }
        self.last = state.to_owned();
    }
    /// A sentence that stays.
    pub fn say(&mut self, sentence: &str) {
        self.clear();
        if !self.quiet {
            note(sentence);
        }
    }
    /// Takes the refreshed line away.
    pub fn clear(&mut self) {
        if self.live && !self.quiet && !self.last.is_empty() {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["SLUG", "TIER", "URL"]);
        table.row(["acme".into(), "enterprise".into(), "http://acme".into()]);
        table.row(["größer-name".into(), "pro".into(), String::new()]);
        assert_eq!(
            table.render(),
            "SLUG         TIER        URL\nacme         enterprise  http://acme\ngrößer-name  pro"
        );
        assert_eq!(Table::plain().render(), "");
    }

    #[test]
    fn cells_are_cut_and_cleaned() {
        let mut table = Table::plain().indented(2);
        table.row(["a\nb\x1b[31m".into(), "x".repeat(300)]);
        let text = table.render();
        assert!(text.starts_with("  a\\nb\\u{1b}[31m") && text.ends_with("x…") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn an_age_is_short() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::hours(30);
        assert_eq!(age(OffsetDateTime::UNIX_EPOCH, now), "1d6h");
    }
}
