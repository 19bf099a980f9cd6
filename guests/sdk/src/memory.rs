//! The allocator of a policy: it hands out memory and takes none back.
//!
//! A sandbox lives for one call of some microseconds, so freeing is work for nothing, and the usual allocator begins each life
//! with a `memory.grow`, which costs the host more than the decision. This one starts in the memory that the module is linked
//! with and grows it only past that. A binding's `memory_bytes` is the bound.

use core::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32,
    cell::Cell,
};

const PAGE: usize = 64 << 10;

#[global_allocator]
static MEMORY: Bump = Bump { next: Cell::new(0), end: Cell::new(0) };

struct Bump {
    /// The first free byte; 0 before the first allocation.
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a policy is built for wasm32-unknown-unknown without threads.
unsafe impl Sync for Bump {}

unsafe extern "C" {
    /// Where the linker says that free memory begins.
    static __heap_base: u8;
}

/// Takes what follows from beyond the memory that the module starts with, if it may have more.
///
/// For `configure`: the host keeps the pages that were written, and looks through them after each decision that gets the same
/// memory. A decision has only what the module starts with, so what is written beyond costs it nothing.
pub fn beyond() {
    MEMORY.begin();
    if MEMORY.end.get() > MEMORY.next.get() && wasm32::memory_grow(0, 1) != usize::MAX {
        MEMORY.next.set(MEMORY.end.get());
        MEMORY.end.set(MEMORY.end.get() + PAGE);
    }
}

impl Bump {
    fn begin(&self) {
        if self.end.get() == 0 {
            self.next.set(&raw const __heap_base as usize);
            self.end.set(wasm32::memory_size(0) * PAGE);
        }
    }

    fn take(&self, from: usize, size: usize) -> Option<()> {
        let end = from.checked_add(size)?;
        if end > self.end.get() {
            let pages = (end - self.end.get()).div_ceil(PAGE);
            if wasm32::memory_grow(0, pages) == usize::MAX {
                return None;
            }
            self.end.set(self.end.get() + pages * PAGE);
        }
        self.next.set(end);
        Some(())
    }
}

// SAFETY: every block lies between `__heap_base` and the end of memory, aligned as asked, and `next` only moves past it.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.begin();
        let from = self.next.get().next_multiple_of(layout.align());
        match self.take(from, layout.size()) {
            Some(()) => from as *mut u8,
            None => core::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // The newest block is cheap to take back, and temporary texts often are that.
        if block as usize + layout.size() == self.next.get() {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // A growing list or text usually is the newest block: it grows where it is.
        if block as usize + layout.size() == self.next.get() {
            return match self.take(block as usize, size) {
                Some(()) => block,
                None => core::ptr::null_mut(),
            };
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller's layout is valid, and so is one of the same alignment and a size that the caller vouches for.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(block, new, layout.size());
            }
            new
        }
    }
}
