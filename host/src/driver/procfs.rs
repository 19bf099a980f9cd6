//! What the kernel says about processes, from `/proc`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is needed of `/proc/<pid>/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// `Z` and `X` are over.
    pub(super) state: char,
    pub(super) session: u32,
    /// Start time in clock ticks since boot.
    pub(super) start_ticks: u64,
}

impl Stat {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// The kernel's boot id: another one means that every process recorded before is gone.
pub fn kernel_boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// `None` if there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A process's working directory; `None` if it is gone or not ours to see.
pub(super) fn cwd(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Ids of all processes that can be seen.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir(Path::new("/proc")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// proc(5): `pid (comm) state ppid pgrp session …`; comm may hold spaces and parentheses, so fields count from the last one.
fn parse(text: &str) -> Option<Stat> {
    let rest = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        session: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_command_name_does_not_move_the_fields() {
        let text = "7 (a) R 1 (b) S 1 7 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 8765 1 1\n";
        assert_eq!(parse(text), Some(Stat { state: 'S', session: 42, start_ticks: 8765 }));
        assert_eq!(parse("7 (cut"), None);
        assert!(stat(std::process::id()).is_some_and(|s| !s.is_over()));
        assert_eq!(cwd(std::process::id()), std::env::current_dir().ok());
    }
}
