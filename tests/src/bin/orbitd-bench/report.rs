//! A table for people, JSON lines for programs: `bench, row, value, unit, peer, ratio`, and where they were measured.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;

/// Collects rows and appends them to a file.
pub struct Report {
    file: File,
    machine: String,
    rows: Vec<(String, f64, String, Option<f64>)>,
}

/// The middle of an odd number of values.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Report {
    /// Opens the file for appending.
    pub fn new(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot append to {}", path.display()))?;
        let machine = machine();
        println!("machine: {machine}");
        Ok(Self { file, machine, rows: Vec::new() })
    }

    /// One row.
    pub fn row(&mut self, row: &str, value: f64, unit: &str, peer: &str, ratio: Option<f64>) -> Result<()> {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let line = json!({
            "bench": row.split('.').next(), "row": row, "value": rounded(value), "unit": unit, "peer": peer,
            "ratio": ratio.map(rounded), "machine": self.machine,
        });
        writeln!(self.file, "{line}")?;
        self.rows.push((row.to_owned(), value, unit.to_owned(), ratio));
        Ok(())
    }

    /// The table.
    pub fn print(&self) {
        println!("{:<44} {:>12}  {:<6} {:>8}", "row", "value", "unit", "/ peer");
        for (row, value, unit, ratio) in &self.rows {
            let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            println!("{row:<44} {value:>12.2}  {unit:<6} {ratio:>8}");
        }
    }
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, m)| m.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores")
}
