'use strict';
// The start message: one JSON line on fd 3, at most 1 MiB. It is read without blocking, so that a waiting process still
// obeys signals, and the descriptor is closed after it. End of file first means that orbitd went away.
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { Failure } = require('./failure');

const MAX_BYTES = 1 << 20;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Returns { arrived, message }: whether the line (or its end) is there, and a promise of the checked message. */
function receiveStartMessage(fd) {
  const incoming = { arrived: false, message: null };
  incoming.message = readLine(fd).then(parse).finally(() => { incoming.arrived = true; });
  incoming.message.catch(() => {}); // awaited later; must not count as unhandled until then
  return incoming;
}

function readLine(fd) {
  return new Promise((resolve, reject) => {
    const refuse = reason => reject(new Failure('message', `fd ${fd}: ${reason}`));
    let stat;
    try {
      stat = fs.fstatSync(fd);
    } catch {
      return refuse('no start message: the descriptor is not open. orbitd starts the launcher; to try it by hand, redirect a file: 3<start.json');
    }
    const chunks = [];
    let size = 0;
    /** Takes a chunk; true when the line is complete or refused. */
    const take = chunk => {
      const end = chunk.indexOf(0x0a);
      const part = end < 0 ? chunk : chunk.subarray(0, end);
      size += part.length;
      if (size > MAX_BYTES) { refuse(`the start message is longer than ${MAX_BYTES} bytes`); return true; }
      chunks.push(part);
      if (end >= 0) resolve(Buffer.concat(chunks).toString('utf8'));
      return end >= 0;
    };
    const ended = () => refuse(size ? 'the start message ended in the middle of its line' : 'closed before a start message came');
    if (stat.isFIFO() || stat.isSocket()) {
      const socket = new net.Socket({ fd, readable: true, writable: false });
      socket.on('data', chunk => { if (take(chunk)) socket.destroy(); });
      socket.on('end', ended); // after a complete line this changes nothing: the promise is settled
      socket.on('error', error => refuse(error.message));
    } else if (stat.isFile()) {
      try {
        if (!take(Buffer.concat([fs.readFileSync(fd), Buffer.from('\n')]))) ended();
        fs.closeSync(fd);
      } catch (error) {
        refuse(error.message);
      }
    } else {
      refuse('not a pipe, a socket or a file');
    }
  });
}

function parse(line) {
  const refuse = reason => { throw new Failure('message', `start message: ${reason}`); };
  let m;
  try {
    m = JSON.parse(line);
  } catch {
    refuse('not JSON'); // the parser's own words would quote the line, and with it the boot secret
  }
  if (m === null || typeof m !== 'object' || Array.isArray(m)) refuse('not a JSON object');
  if (m.protocol !== 1) refuse(`protocol ${JSON.stringify(m.protocol)} is not known: this launcher speaks 1. Install the distribution that belongs to this orbitd`);
  const absolute = p => typeof p === 'string' && path.isAbsolute(p);
  const rules = {
    boot_id: [v => typeof v === 'string' && UUID.test(v), 'a UUID'],
    boot_secret: [v => typeof v === 'string' && /^[0-9a-f]{64}$/i.test(v), '64 hexadecimal digits'],
    workspace: [v => typeof v === 'string' && /^[a-z][a-z0-9-]{0,39}$/.test(v), 'a workspace slug'],
    port: [v => Number.isInteger(v) && v > 0 && v < 65536, 'a port from 1 to 65535'],
    socket: [v => v === undefined || (typeof v === 'string' && /^[\w-][\w.-]{0,63}$/.test(v)), 'a file name, or left out to serve on the port itself'],
    config_files: [v => Array.isArray(v) && v.length > 0 && v.length <= 16 && v.every(absolute), 'one to 16 absolute paths'],
    plugins: [v => Array.isArray(v) && v.length <= 256 && v.every(id => typeof id === 'string' && id.length <= 100), 'a list of plugin ids'],
    user: [v => v === undefined || v === null || (Number.isInteger(v) && v > 0 && v < 2 ** 32 - 1), 'a user id, or left out to stay who it is'],
    secret_files: [v => v !== null && typeof v === 'object' && !Array.isArray(v) && Object.values(v).every(absolute), 'names with absolute paths'],
  };
  m.secret_files ??= {};
  for (const [key, [ok, expected]] of Object.entries(rules)) if (!ok(m[key])) refuse(`"${key}" must be ${expected}`);
  return m;
}

module.exports = { receiveStartMessage };
