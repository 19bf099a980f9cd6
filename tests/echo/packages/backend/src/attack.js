'use strict';
// What a hostile plugin would try, from inside an instance, with an instance's rights: `?mode=attack` with the plan as body. Each try answers
// with the error's code, or with "done" where it worked; the test knows the paths and pids, and says what must fail.
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const { spawnSync } = require('node:child_process');

const LIMIT_MS = 3000;

const attempt = work => {
  try {
    work();
    return 'done';
  } catch (error) {
    return error.code ?? String(error.message);
  }
};
const settled = start => new Promise(resolve => {
  const timer = setTimeout(() => resolve('silence'), LIMIT_MS);
  start(outcome => { clearTimeout(timer); resolve(outcome); });
});

const tries = {
  read: path => attempt(() => fs.closeSync(fs.openSync(path, 'r'))),
  list: path => attempt(() => fs.readdirSync(path)),
  write: path => attempt(() => fs.writeFileSync(path, 'planted')),
  remove: path => attempt(() => fs.unlinkSync(path)),
  link: ([target, path]) => attempt(() => fs.symlinkSync(target, path)),
  hardlink: ([target, path]) => attempt(() => fs.linkSync(target, path)),
  run: ([program, ...args]) => {
    const { error, status } = spawnSync(program, args, { timeout: LIMIT_MS });
    return error ? error.code : `exit ${status}`;
  },
  probe: pid => attempt(() => process.kill(pid, 0)),
  kill: pid => attempt(() => process.kill(pid, 'SIGKILL')),
  socket: path => settled(end => net.connect(path).on('connect', () => end('done')).on('error', e => end(e.code))),
  listen: port => settled(end => {
    const server = net.createServer().on('error', e => end(e.code));
    server.listen(port, '127.0.0.1', () => { server.close(); end('done'); });
  }),
  get: url => settled(end => http.get(url, res => { res.resume(); end(String(res.statusCode)); }).on('error', e => end(e.code))),
  // Processes that leave the session and outlive their parent, as a daemon would.
  escape: seconds => attempt(() => {
    const script = `require('node:child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, ${seconds}000)'], { detached: true, stdio: 'ignore' }).unref()`;
    const { error, status } = spawnSync(process.execPath, ['-e', script], { timeout: LIMIT_MS });
    if (error || status !== 0) throw error ?? new Error(`exit ${status}`);
  }),
  children: count => {
    const { spawn } = require('node:child_process');
    let started = 0;
    for (let i = 0; i < count; i++) {
      const child = spawn('/proc/self/exe', ['-e', 'setTimeout(() => {}, 20000)'], { stdio: 'ignore' });
      child.on('error', () => {});
      if (child.pid) started += 1;
    }
    return String(started);
  },
  memory: mebibytes => {
    const kept = [];
    for (let i = 0; i < mebibytes; i++) kept.push(Buffer.alloc(1 << 20, 1));
    return `${kept.length}`;
  },
  talk: mebibytes => {
    const line = `${'x'.repeat((1 << 20) - 1)}\n`;
    for (let i = 0; i < mebibytes; i++) fs.writeSync(1, line);
    return 'done';
  },
};

/** `{read: ["/a", "/b"], kill: [7]}` → `{"read /a": "EACCES", …}`. */
async function attack(plan) {
  const results = {};
  for (const [what, targets] of Object.entries(plan))
    for (const target of targets) results[`${what} ${[target].flat().join(' ')}`] = await tries[what](target);
  return results;
}

module.exports = { attack };
