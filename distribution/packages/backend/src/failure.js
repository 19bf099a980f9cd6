'use strict';
// What ends a launch. The phase is what orbitd shows and counts; the message names the thing, the reason and the next step.

/** Exit codes of the launcher protocol (sysexits.h: 64 usage, 65 data, 70 software, 75 try again). */
const EXIT_CODES = { message: 64, config: 65, load: 70, start: 70, listen: 75 };
const MAX_REASON = 600; // characters; longer text is in the log

class Failure extends Error {
  /** @param phase one of message, config, load, start, listen */
  constructor(phase, message, options) {
    super(clip(message), options);
    this.phase = phase;
    this.exitCode = EXIT_CODES[phase];
  }
}

function clip(text) {
  return text.length > MAX_REASON ? `${text.slice(0, MAX_REASON)}… (the rest is in the log)` : text;
}

/** An error as one line: its own first line, then the causes that say more. */
function oneLine(error) {
  const lines = [];
  for (let e = error, depth = 0; e && depth < 4; e = e.cause, depth++) {
    const text = String(e.message ?? e).split('\n').find(line => line.trim())?.trim() ?? String(e.name ?? e);
    if (!lines.some(line => line.includes(text))) lines.push(text);
  }
  return clip(lines.join('; '));
}

module.exports = { Failure, oneLine };
