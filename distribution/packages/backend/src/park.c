// Lets orbitd suspend an instance down to a few MiB. orbitd stops an idle instance and has the kernel write its memory to
// swap; but pages of files that several processes map (Node's own code and data, 56 MB) the kernel takes out of no single one
// of them. Only the process itself may let go of them: on SIGURG it does, and then stops itself. A page that is touched after
// SIGCONT comes back from the page cache, with the bytes it had: only mappings that were never writable are let go of.
//
// A Node addon without Node's headers: loading it is all that is wanted of it. Built by install.sh, loaded by launcher.js;
// without it an instance is suspended all the same, and counts the shared pages.
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_RANGES = 256 };

static struct { void *start; size_t length; } ranges[MAX_RANGES];
static size_t count;

// The read-only segments of one loaded file. What the dynamic linker writes (RELRO) lies in writable segments.
static int remember(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  (void)data;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < info->dlpi_phnum && count < MAX_RANGES; i++) {
    const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
    // Whole pages only: the first and the last may be shared with a neighbouring segment.
    const uintptr_t start = (info->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
    const uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
    if (end <= start) continue;
    ranges[count].start = (void *)start;
    ranges[count].length = end - start;
    count++;
  }
  return 0;
}

// Only async-signal-safe calls: this runs between any two instructions of the process.
static void park(int signal) {
  (void)signal;
  const int saved = errno;
  for (size_t i = 0; i < count; i++) madvise(ranges[i].start, ranges[i].length, MADV_DONTNEED);
  kill(getpid(), SIGSTOP);
  errno = saved;
}

__attribute__((constructor)) static void prepare(void) {
  // The kernel's own page of code (vDSO) has no file to come back from, and refuses.
  dl_iterate_phdr(remember, NULL);
  struct sigaction action = {.sa_handler = park, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGURG, &action, NULL);
}

// What Node looks for in an addon (Node-API): it gets its exports object back.
__attribute__((visibility("default"))) void *napi_register_module_v1(void *env, void *exports) {
  (void)env;
  return exports;
}
