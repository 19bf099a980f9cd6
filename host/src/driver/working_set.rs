//! Which pages of a process are in memory. Of one that was paged out and then answered once, these are the pages that an answer
//! needs: fetched together, in the order of their addresses, they are back in a fraction of the time that it takes to fault on
//! one after the other (measured on a real Backstage: 32–55 MB in 2,000–3,000 ranges; first answer after 0.05 s instead of 0.18 s).

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, PoisonError},
};

use super::procfs;

/// Ranges that are remembered of one process: 256 KiB of the daemon's memory at the most. Past it the rest comes by faults.
const MAX_RANGES: usize = 16_384;
/// Pages that are looked at: 16 GiB of mapped memory.
const MAX_PAGES: usize = 4 << 20;
/// Entries of `/proc/<pid>/pagemap` that are read at once.
const CHUNK: usize = 8_192;
/// One entry, bytes.
const ENTRY: usize = 8;
/// proc_pid_pagemap(5): bit 63, page present.
const PRESENT: u64 = 1 << 63;

/// `(start, length)` in bytes.
type Range = (usize, usize);

/// What a process is known to need first.
#[derive(Default)]
pub(super) struct WorkingSet(Mutex<Vec<Range>>);

impl WorkingSet {
    /// Takes what is in memory now; how many bytes that is. Blocks for some milliseconds.
    pub(super) fn learn(&self, pid: u32) -> io::Result<u64> {
        let ranges = present(&File::open(format!("/proc/{pid}/pagemap"))?, &procfs::mappings(pid)?)?;
        let bytes = ranges.iter().map(|(_, length)| *length as u64).sum();
        *self.lock() = ranges;
        Ok(bytes)
    }

    pub(super) fn ranges(&self) -> Vec<Range> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Range>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn present(pagemap: &File, mappings: &[Range]) -> io::Result<Vec<Range>> {
    let page = rustix::param::page_size();
    let (mut found, mut left) = (Vec::new(), MAX_PAGES);
    let mut entries = vec![0; CHUNK * ENTRY];
    for (start, length) in mappings {
        let (mut at, end) = (start / page, start.saturating_add(*length) / page);
        while at < end && left > 0 {
            let wanted = (end - at).min(CHUNK).min(left) * ENTRY;
            let read = pagemap.read_at(&mut entries[..wanted], (at * ENTRY) as u64)? / ENTRY;
            if read == 0 {
                break;
            }
            for entry in entries.chunks_exact(ENTRY).take(read) {
                let entry = entry.try_into().map_or(0, u64::from_ne_bytes);
                if entry & PRESENT != 0 && !extend(&mut found, at * page, page) {
                    return Ok(found);
                }
                at += 1;
            }
            left -= read;
        }
    }
    Ok(found)
}

/// Adds a page; `false` if there is no room for another range.
fn extend(ranges: &mut Vec<Range>, address: usize, page: usize) -> bool {
    if let Some((start, length)) = ranges.last_mut()
        && *start + *length == address
    {
        *length += page;
        return true;
    }
    let room = ranges.len() < MAX_RANGES;
    if room {
        ranges.push((address, page));
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_that_were_touched_are_found() {
        let page = rustix::param::page_size();
        let mut memory = vec![0_u8; 64 * page];
        let first = memory.as_ptr() as usize / page + 1;
        for touched in [0, 1, 2, 40] {
            memory[(touched + 1) * page] = 1;
        }
        std::hint::black_box(&memory);
        let whole = [(memory.as_ptr() as usize / page * page, 64 * page)];
        let pagemap = File::open("/proc/self/pagemap").expect("our own");
        let found = present(&pagemap, &whole).expect("read");
        let has =
            |n: usize| found.iter().any(|(start, length)| (*start..start + length).contains(&((first + n) * page)));
        assert!(has(0) && has(1) && has(2) && has(40), "{found:x?}");
        let set = WorkingSet::default();
        assert!(set.learn(std::process::id()).expect("learnt") > 1 << 20);
        assert!(!set.ranges().is_empty());
    }

    #[test]
    fn neighbours_become_one_range_and_their_number_is_limited() {
        let mut ranges = Vec::new();
        assert!([0, 10, 30].iter().all(|at| extend(&mut ranges, *at, 10)));
        assert_eq!(ranges, [(0, 20), (30, 10)]);
        assert!((0..MAX_RANGES * 2).any(|n| !extend(&mut ranges, 1_000 + n * 20, 10)));
        assert_eq!(ranges.len(), MAX_RANGES);
    }
}
