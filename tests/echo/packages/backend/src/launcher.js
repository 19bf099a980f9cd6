'use strict';
// A stand-in for Backstage in the byte, crash and load tests: speaks launcher protocol 1, starts in 50 ms, answers every request
// with a JSON account of it, keeps the raw bytes of every connection, and misbehaves on demand.
//
//   what it does at start   the workspace's `app.title`: "echo:crash", "echo:never-ready", "echo:slow-start", "echo:die-later",
//                           "echo:die-after:<ms>", "echo:plugin-fails:<id>", "echo:holds:<MiB>" (of memory), "echo:broken" (ready, but its catalogue answers 500)
//   what it does per request   the query's `mode` (modes.js)
//   whether it is broken   GET /.echo/break?on=1 on its own port: from then on every answer, its catalogue's too, is 500
//   what it saw   GET /.echo/log on its own port (recorder.js), which serves nothing else; the proxy comes by the socket
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { createHash, createHmac } = require('node:crypto');
const { Recorder } = require('./recorder');
const { answerInMode, tunnel } = require('./modes');

const report = event => fs.writeSync(4, `${JSON.stringify(event)}\n`);

function fail(phase, code, reason, plugins = []) {
  report({ event: 'failed', phase, reason, plugins });
  process.stderr.write(`echo launcher: ${phase}: ${reason}\n`);
  process.exit(code);
}

function merge(into, from) {
  for (const [key, value] of Object.entries(from)) {
    const nested = value && typeof value === 'object' && !Array.isArray(value);
    into[key] = nested ? merge(into[key] && typeof into[key] === 'object' ? into[key] : {}, value) : value;
  }
  return into;
}

let start;
try {
  start = JSON.parse(fs.readFileSync(3, 'utf8').split('\n')[0]);
  if (start.protocol !== 1) throw new Error(`protocol ${start.protocol}`);
} catch (error) {
  fail('message', 64, String(error.message));
}
if (start.user) { // it waited in the warm pool, as orbitd's user
  process.setgroups([]);
  process.setgid(start.user);
  process.setuid(start.user);
}
let config = {};
try {
  config = start.config_files.reduce((all, file) => merge(all, JSON.parse(fs.readFileSync(file, 'utf8'))), {});
} catch (error) {
  fail('config', 65, String(error.message));
}
const title = config.app?.title ?? '';
const [behaviour, argument] = title.startsWith('echo:') ? title.slice(5).split(':') : [''];
const digest = createHash('sha256').update(JSON.stringify({ ...config, backend: null, discovery: null })).digest('hex');
const about = { workspace: start.workspace, boot_id: start.boot_id, pid: process.pid, port: start.port, title, config_digest: digest };

if (behaviour === 'crash') fail('start', 70, 'told to crash', [{ id: 'catalog', outcome: 'failed', reason: 'told to crash' }]);
let ready = behaviour !== 'never-ready';
if (behaviour === 'slow-start') {
  ready = false;
  setTimeout(() => { ready = true; }, 2000);
}
if (behaviour === 'holds') globalThis.held = Buffer.alloc(Number(argument) << 20, 1);
if (behaviour === 'die-later') setTimeout(() => process.exit(71), 3000);
if (behaviour === 'die-after') setTimeout(() => process.exit(71), Number(argument));

const recorder = new Recorder();
const json = (res, status, value) => {
  const body = Buffer.from(JSON.stringify(value));
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, 'x-echo-workspace': start.workspace });
  res.end(body);
};

function own(req, res) {
  const url = new URL(req.url, 'http://x');
  switch (url.pathname) {
    case '/.orbit/v1/boot': {
      const challenge = Buffer.from(url.searchParams.get('challenge') ?? '', 'hex');
      const proof = createHmac('sha256', Buffer.from(start.boot_secret, 'hex')).update(challenge).digest('hex');
      return json(res, 200, { boot_id: start.boot_id, pid: process.pid, proof });
    }
    case '/.backstage/health/v1/readiness': return json(res, ready ? 200 : 503, { status: ready ? 'ok' : 'starting' });
    case '/.backstage/health/v1/liveness': return json(res, 200, { status: 'ok' });
    default: return undefined;
  }
}

// As an older version is when a newer one has migrated the database that both are on.
const health = { broken: false, asked: 0 };

const isOwn = req => /^\/\.(orbit|backstage|echo)\//.test(req.url) || req.url.startsWith('/api/catalog/entities?limit=1') || req.url === '/api/catalog/refresh';

const server = http.createServer({ keepAliveTimeout: 60_000, requestTimeout: 0 }, (req, res) => {
  if (isOwn(req)) {
    recorder.forget(req.socket);
    if (req.url === '/api/catalog/refresh') return json(res, 200, {});
    if (req.url.startsWith('/api/catalog/entities')) {
      health.asked += 1;
      return json(res, behaviour === 'broken' || health.broken ? 500 : 200, []);
    }
    return own(req, res);
  }
  const seen = recorder.request(req);
  if (health.broken) {
    req.resume();
    return json(res, 500, about);
  }
  const hash = createHash('sha256');
  let size = 0;
  const mode = new URLSearchParams(req.url.split('?')[1] ?? '').get('mode');
  if (mode && answerInMode(mode, req, res, { ...about })) return undefined;
  req.on('data', chunk => { size += chunk.length; hash.update(chunk); });
  req.on('end', () => {
    seen.complete = true;
    json(res, 200, {
      ...about, method: req.method, url: req.url, headers: pairs(req.rawHeaders), trailers: pairs(req.rawTrailers),
      body_bytes: size, body_sha256: hash.digest('hex'),
    });
  });
  return undefined;
});
const pairs = raw => raw.reduce((all, text, i) => (i % 2 ? all[all.length - 1].push(text) : all.push([text.toLowerCase()]), all), []);

server.on('upgrade', (req, socket, head) => { recorder.request(req); tunnel(req, socket, head, about); });
server.on('clientError', (error, socket) => { recorder.broken(socket, error.code); socket.destroy(); });

const front = net.createServer(socket => { server.emit('connection', socket); recorder.watch(socket); });
front.on('error', error => fail('listen', error.code === 'EADDRINUSE' ? 75 : 70, error.message));
const inside = http.createServer((req, res) => {
  if (req.url === '/.echo/log') return json(res, 200, recorder.dump());
  if (!req.url.startsWith('/.echo/break')) return json(res, 404, {});
  const on = new URLSearchParams(req.url.split('?')[1] ?? '').get('on');
  if (on !== null) health.broken = on === '1';
  return json(res, 200, health);
});
inside.on('error', error => fail('listen', error.code === 'EADDRINUSE' ? 75 : 70, error.message));
inside.listen(start.port, '127.0.0.1', () => front.listen({ path: start.socket, backlog: 1024 }, () => {
  const fails = id => behaviour === 'plugin-fails' && id === argument;
  const plugins = start.plugins.map(id => (fails(id) ? { id, outcome: 'failed', reason: 'told to fail' } : { id, outcome: 'ready' }));
  report({ event: 'loaded', ms: 1 });
  report({ event: 'started', boot_id: start.boot_id, pid: process.pid, port: start.port, ms: Math.round(performance.now()), plugins });
  process.stdout.write(`${JSON.stringify({ level: 'info', message: `echo listens on ${start.port} for ${start.workspace}` })}\n`);
}));

process.on('SIGHUP', () => {});
process.on('SIGTERM', () => {
  report({ event: 'stopping' });
  front.close();
  inside.close();
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), 1500).unref();
});
