//! Says what is being done, and at the end how long each part took.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Stages done so far.
#[derive(Default)]
pub struct Stages {
    done: Vec<(String, Duration)>,
}

impl Stages {
    /// Announces and runs one stage.
    pub fn run<T>(&mut self, name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("==> {name}");
        let began = Instant::now();
        let outcome = stage();
        self.took(name, began.elapsed());
        outcome
    }

    /// Records a stage that ran beside the others.
    pub fn took(&mut self, name: &str, took: Duration) {
        self.done.push((name.to_owned(), took));
    }

    /// Prints how long each stage took.
    pub fn summary(&self) {
        println!("\nwhere the time went:");
        for (name, took) in &self.done {
            println!("  {:>7.1} s  {name}", took.as_secs_f64());
        }
    }
}
