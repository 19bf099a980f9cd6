'use strict';
// The report file: JSON lines on an inherited descriptor, read by orbitd. Writes are synchronous, so that a line is there
// before the process can exit; a write that fails is dropped, since a report must never end an instance.
const fs = require('node:fs');

function openReport(fd) {
  let target = fd;
  try {
    // A second, close-on-exec descriptor: children that plugins start (git, scaffolder steps) must not write reports.
    target = fs.openSync(`/proc/self/fd/${fd}`, fs.constants.O_WRONLY | fs.constants.O_APPEND);
    fs.closeSync(fd);
  } catch {
    target = fd; // no /proc, or a file of another user: report on the inherited one
  }
  return {
    write(event) {
      try {
        fs.writeSync(target, `${JSON.stringify(event)}\n`);
      } catch {}
    },
  };
}

module.exports = { openReport };
