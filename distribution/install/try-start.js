'use strict';
// Starts the installed Backstage once with every plugin on a throw-away SQLite database, and stops it. Shows that the
// install works; with a directory as argument it leaves V8's compiled code there. Run by install.sh with the tree as cwd.
const { spawn } = require('node:child_process');
const { randomBytes, randomUUID } = require('node:crypto');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const DEADLINE_MS = 120_000;
const root = process.cwd();
const cache = process.argv[2];
const run = fs.mkdtempSync(path.join(os.tmpdir(), 'orbit-try-start-'));
const file = name => path.join(run, name);
process.on('exit', () => fs.rmSync(run, { recursive: true, force: true }));

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().on('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function main() {
  const port = await freePort();
  const baseUrl = `http://127.0.0.1:${port}`;
  fs.writeFileSync(file('config.json'), JSON.stringify({
    app: { title: 'Try', baseUrl },
    backend: { baseUrl, database: { client: 'better-sqlite3', connection: { directory: file('db') } } },
    kubernetes: { serviceLocatorMethod: { type: 'multiTenant' }, clusterLocatorMethods: [{ type: 'config', clusters: [] }] },
    argocd: { appLocatorMethods: [{ type: 'config', instances: [] }] },
  }));
  fs.writeFileSync(file('start.json'), JSON.stringify({
    protocol: 1, boot_id: randomUUID(), boot_secret: randomBytes(32).toString('hex'), workspace: 'try', port,
    config_files: [file('config.json')], plugins: Object.keys(require(path.join(root, 'plugins.json')).plugins), secret_files: {},
  }));
  const env = { PATH: process.env.PATH, HOME: run, ...(cache ? { NODE_COMPILE_CACHE: cache } : {}) };
  const child = spawn(process.execPath, [path.join(root, 'packages/backend/src/launcher.js')], {
    cwd: run,
    env,
    stdio: ['ignore', fs.openSync(file('log'), 'a'), 'inherit', fs.openSync(file('start.json'), 'r'), fs.openSync(file('report'), 'a')],
  });
  const ended = new Promise(resolve => child.on('exit', (code, signal) => resolve(code ?? signal)));
  const deadline = setTimeout(() => { console.error(`it did not start in ${DEADLINE_MS / 1000} s`); child.kill('SIGKILL'); }, DEADLINE_MS);
  let outcome;
  while (!outcome && child.exitCode === null && child.signalCode === null) {
    await new Promise(resolve => setTimeout(resolve, 100));
    outcome = fs.readFileSync(file('report'), 'utf8').split('\n').filter(Boolean).map(JSON.parse).find(e => e.event === 'started' || e.event === 'failed');
  }
  child.kill('SIGTERM');
  const code = await ended;
  clearTimeout(deadline);
  const bad = outcome?.plugins.filter(p => p.outcome !== 'ready') ?? [];
  if (outcome?.event !== 'started' || bad.length || code !== 0) {
    console.error(fs.readFileSync(file('log'), 'utf8').split('\n').filter(l => !l.includes('"level":"info"')).slice(-20).join('\n'));
    console.error(`the installed Backstage does not start: ${outcome?.reason ?? bad.map(p => `plugin ${p.id}: ${p.reason}`).join('; ')} (exit ${code})`);
    process.exit(1);
  }
  console.log(`started in ${outcome.ms} ms with ${outcome.plugins.length} plugins`);
}

main().catch(error => { console.error(error); process.exit(1); });
