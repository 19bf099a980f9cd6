'use strict';
// A stand-in distribution for tests of bytes, crashes and load: speaks launcher protocol 1, serves what orbitd asks an instance,
// and echoes every other request. No packages. Its app-config may set
//   echo.mode: exit | exit-zero | hang | never-ready | empty-catalog | impostor | crash-after-ms | slow-start-ms | ignore-sigterm | spawn-child
//   echo.ms: for the modes that end in -ms      echo.version: text that every answer carries      echo.flood: bytes to log
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const { spawn } = require('node:child_process');

process.on('SIGHUP', () => {});
const report = line => fs.writeSync(4, `${JSON.stringify(line)}\n`);
const log = (level, message) => process.stdout.write(`${JSON.stringify({ level, message })}\n`);

function fail(phase, code, reason) {
  report({ event: 'failed', phase, reason, plugins: [] });
  log('error', reason);
  process.exit(code);
}

function merge(target, source) {
  for (const [key, value] of Object.entries(source)) {
    const both = value && target[key] && [value, target[key]].every(v => typeof v === 'object' && !Array.isArray(v));
    target[key] = both ? merge({ ...target[key] }, value) : value;
  }
  return target;
}

let line;
try {
  line = fs.readFileSync(3, 'utf8');
} catch (error) {
  fail('message', 64, `fd 3: ${error.message}`);
}
if (!line.includes('\n')) fail('message', 64, 'fd 3: closed before a start message came');
const start = JSON.parse(line);
const config = start.config_files.map(file => JSON.parse(fs.readFileSync(file, 'utf8'))).reduce(merge, {});
const digest = crypto.createHash('sha256').update(JSON.stringify(config.echo ?? {})).digest('hex').slice(0, 12);
const { mode = 'fine', ms = 0, version = '', flood = 0 } = config.echo ?? {};
const probeToken = config.backend.auth.externalAccess[0].options.token;
const began = performance.now();

report({ event: 'loaded', ms: 1 });
log('info', `echo of ${start.workspace}, mode ${mode}`);
if (flood) for (let i = 0; i < flood; i += 1024) process.stdout.write(`${'x'.repeat(1023)}\n`);
if (mode === 'exit') fail('start', 70, 'told to exit');
if (mode === 'exit-zero') process.exit(0);

let ready = mode !== 'never-ready';
let requests = 0;
const json = (res, status, body) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const server = http.createServer((req, res) => {
  const url = new URL(req.url, 'http://echo');
  if (url.pathname === '/.orbit/v1/boot') {
    const key = Buffer.from(mode === 'impostor' ? '00' : start.boot_secret, 'hex');
    const challenge = Buffer.from(url.searchParams.get('challenge') ?? '', 'hex');
    return json(res, 200, {
      boot_id: start.boot_id, pid: process.pid, proof: crypto.createHmac('sha256', key).update(challenge).digest('hex'),
    });
  }
  if (url.pathname === '/.backstage/health/v1/readiness') return json(res, ready ? 200 : 503, { status: ready ? 'ok' : 'error' });
  if (url.pathname === '/api/catalog/entities' && req.headers.authorization === `Bearer ${probeToken}`) {
    return mode === 'empty-catalog' ? res.writeHead(200).end() : json(res, 200, []);
  }
  requests += 1;
  const wait = Number(url.searchParams.get('echo-wait-ms') ?? 0);
  const status = Number(url.searchParams.get('echo-status') ?? 200);
  if (url.searchParams.has('echo-exit')) process.exit(Number(url.searchParams.get('echo-exit')));
  if (url.searchParams.has('echo-break')) return req.socket.destroy();
  const chunks = [];
  let size = 0;
  req.on('data', chunk => {
    size += chunk.length;
    if (size <= 1 << 20) chunks.push(chunk);
  });
  req.on('end', () => setTimeout(() => {
    if (url.searchParams.has('echo-bytes')) return res.writeHead(status).end(Buffer.alloc(Number(url.searchParams.get('echo-bytes')), 'x'));
    json(res, status, {
      workspace: start.workspace, boot_id: start.boot_id, pid: process.pid, config: digest, version, plugins: start.plugins,
      method: req.method, url: req.url, headers: req.headers, raw_headers: req.rawHeaders, body_bytes: size,
      body: Buffer.concat(chunks).toString('utf8'), requests,
    });
  }, wait));
});

// A WebSocket that sends back what it gets: handshake (RFC 6455), then the frames' payloads unmasked, fragments untouched.
server.on('upgrade', (req, socket) => {
  const accept = crypto.createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', data => {
    buffer = Buffer.concat([buffer, data]);
    for (;;) {
      if (buffer.length < 6) return;
      let length = buffer[1] & 0x7f;
      let at = 2;
      if (length === 126) { if (buffer.length < 8) return; length = buffer.readUInt16BE(2); at = 4; }
      if (length === 127) { if (buffer.length < 14) return; length = Number(buffer.readBigUInt64BE(2)); at = 10; }
      if (buffer.length < at + 4 + length) return;
      const mask = buffer.subarray(at, at + 4);
      const payload = Buffer.from(buffer.subarray(at + 4, at + 4 + length).map((byte, i) => byte ^ mask[i % 4]));
      const head = Buffer.concat([Buffer.from([buffer[0], buffer[1] & 0x7f]), buffer.subarray(2, at)]);
      socket.write(Buffer.concat([head, payload]));
      const closing = (buffer[0] & 0x0f) === 8;
      buffer = buffer.subarray(at + 4 + length);
      if (closing) return void socket.end();
    }
  });
});

server.on('error', error => fail('listen', error.code === 'EADDRINUSE' ? 75 : 70, `port ${start.port}: ${error.message}`));
server.keepAliveTimeout = 60_000;

process.on('SIGTERM', () => {
  if (mode === 'ignore-sigterm') return;
  report({ event: 'stopping' });
  ready = false;
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});

if (mode === 'spawn-child') spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
if (mode !== 'hang') {
  setTimeout(() => server.listen(start.port, '127.0.0.1', () => {
    const plugins = start.plugins.map(id => (id === 'argocd' && !config.argocd
      ? { id, outcome: 'left-out', reason: "Missing required config value at 'argocd.appLocatorMethods'" }
      : { id, outcome: 'ready' }));
    report({ event: 'started', boot_id: start.boot_id, pid: process.pid, port: start.port, ms: Math.round(performance.now() - began), plugins });
    if (mode === 'crash-after-ms') setTimeout(() => { log('error', 'told to crash'); process.abort(); }, ms);
  }), mode === 'slow-start-ms' ? ms : 0);
} else {
  setInterval(() => {}, 1000);
}
