'use strict';
// The root logger: JSON lines on stdout. Backstage's own compiles the whole config schema at every start (0.8–1.8 s) to
// find the values to redact. This one redacts exactly the workspace's secrets, which orbitd names, and on top of that every
// text under a key that looks like a secret's, which is a heuristic for secrets that were written into the config in clear.
const util = require('node:util');
const { Writable } = require('node:stream');
const { WinstonLogger } = require('@backstage/backend-defaults/rootLogger');
const winston = require('winston');

const SECRET_KEY = /secret|token|password|passphrase|private|credential|apikey|api_key|connectionstring/i;
const MAX_LINE = 64 << 10; // bytes; a longer line is cut and says so
const KEPT = 16 << 10; // characters of it that stay

function createRootLogger(config, secrets, { silent = false } = {}) {
  const logger = WinstonLogger.create({
    meta: { service: 'backstage' },
    format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
    transports: [new winston.transports.Stream({ stream: cappedStdout(), eol: '\n', silent })],
  });
  const all = config.getOptional() ?? {};
  const values = new Set([...secrets, ...secretsOf(all, false, new Set()), ...secretPathsOf(all)]);
  // The line is JSON when it is searched: a value with quotes or line ends stands in it in its escaped form.
  for (const value of [...values]) values.add(JSON.stringify(value).slice(1, -1));
  logger.addRedactions(values);
  // What libraries print past the logger becomes lines of the log, redacted like them.
  const printed = logger.child({ service: 'console' });
  for (const [method, level] of [['log', 'info'], ['info', 'info'], ['warn', 'warn'], ['error', 'error'], ['debug', 'debug']])
    console[method] = (...args) => printed[level](util.format(...args));
  return logger;
}

function secretsOf(value, hit, out) {
  if (typeof value === 'string') { if (hit && value.length > 3) out.add(value); }
  else if (value && typeof value === 'object')
    for (const [key, item] of Object.entries(value)) secretsOf(item, hit || SECRET_KEY.test(key), out);
  return out;
}

/** The part of orbitd's own address that only this instance may know (discovery.endpoints). */
function secretPathsOf(config) {
  return (config.discovery?.endpoints ?? [])
    .flatMap(({ target }) => (typeof target === 'string' ? [target] : Object.values(target ?? {})))
    .flatMap(target => String(target).split('/'))
    .filter(part => /^[\w-]{20,}$/.test(part));
}

function cappedStdout() {
  return new Writable({
    decodeStrings: false,
    write(line, _encoding, done) {
      const size = Buffer.byteLength(line);
      if (size > MAX_LINE) line = `${JSON.stringify({ level: 'warn', message: 'a log line was too long and is cut', bytes: size, begin: line.slice(0, KEPT) })}\n`;
      process.stdout.write(line);
      done();
    },
  });
}

module.exports = { createRootLogger };
