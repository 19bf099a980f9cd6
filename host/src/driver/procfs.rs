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

    /// By SIGSTOP.
    pub(super) fn is_stopped(&self) -> bool {
        self.state == 'T'
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

/// A field of a file of `Name:   value …` lines: the first word of its value.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_ascii_whitespace().next())
}

/// Whether a process has a handler for this signal.
pub(super) fn catches(pid: u32, signal: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = field(&status, "SigCgt").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    (1..=64).contains(&signal) && caught >> (signal - 1) & 1 == 1
}

/// Resident memory of a process, bytes; 0 if it is gone.
pub(super) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "VmRSS").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// `(start, length)`, bytes, of a process's mappings that can hold pages: reserved address space is left out (V8 reserves
/// gigabytes), and so is what the kernel maps for itself.
pub(super) fn mappings(pid: u32) -> io::Result<Vec<(usize, usize)>> {
    Ok(fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().filter_map(mapping).collect())
}

/// proc(5): `start-end perms offset dev inode   path`.
fn mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let path = fields.nth(3).unwrap_or_default();
    if permissions.starts_with("---") || path.starts_with("[v") {
        return None;
    }
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
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
        assert!(parse("7 (a) T 1 7 42 0 -1 1 1 0 0 0 0 0 0 0 20 0 1 0 8765 1\n").is_some_and(|s| s.is_stopped()));
        assert!(stat(std::process::id()).is_some_and(|s| !s.is_over()));
        assert_eq!(cwd(std::process::id()), std::env::current_dir().ok());
    }

    #[test]
    fn mappings_that_can_hold_pages_are_told_from_reserved_ones() {
        assert_eq!(mapping("1000-3000 r-xp 00000000 fe:00 7   /usr/bin/node"), Some((0x1000, 0x2000)));
        assert_eq!(mapping("1000-3000 rw-p 00000000 00:00 0"), Some((0x1000, 0x2000)));
        assert_eq!(mapping("1000-3000 rw-p 00000000 00:00 0   [heap]"), Some((0x1000, 0x2000)));
        assert_eq!(mapping("1000-3000 ---p 00000000 00:00 0"), None);
        assert_eq!(mapping("1000-3000 r-xp 00000000 00:00 0   [vdso]"), None);
        assert!(!mappings(std::process::id()).expect("our own").is_empty());
        assert!(resident(std::process::id()) > 1 << 20);
    }
}
