'use strict';
// The ways a launch fails or waits: each ends with its code, one readable line on stderr and the same reason in the report.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const { distribution, freePort, runDirectory, Launcher, until, PROBE_TOKEN } = require('./orbitd');

const installed = distribution();

async function failsWith(t, code, phase, reason, { run = runDirectory(), dist = installed, begin }) {
  t.after(run.remove);
  const launcher = new Launcher(dist, run);
  begin(launcher);
  assert.equal(await launcher.exit, code);
  const failed = launcher.events().at(-1);
  assert.equal(failed.event, 'failed');
  assert.equal(failed.phase, phase);
  assert.match(failed.reason, reason);
  assert.equal(launcher.stderr, `orbit launcher: ${phase}: ${failed.reason}\n`);
  return failed;
}

/** The installed tree with another plugins.json; fixtures are plugins given by absolute path. */
function withPlugins(t, change) {
  const run = runDirectory();
  t.after(run.remove);
  const root = run.file('tree');
  fs.mkdirSync(path.join(root, 'packages/backend'), { recursive: true });
  fs.symlinkSync(path.join(installed.root, 'node_modules'), path.join(root, 'node_modules'));
  fs.cpSync(path.join(installed.root, 'packages/backend/src'), path.join(root, 'packages/backend/src'), { recursive: true });
  const manifest = JSON.parse(fs.readFileSync(path.join(installed.root, 'plugins.json')));
  change(manifest.plugins);
  fs.writeFileSync(path.join(root, 'plugins.json'), JSON.stringify(manifest));
  return { ...installed, root, launcher: path.join(root, 'packages/backend/src/launcher.js') };
}

const fixture = name => path.join(__dirname, 'fixtures', name);

test('an end before the start message', t => failsWith(t, 64, 'message', /closed before a start message came/, { begin: l => l.sendText('') }));
test('half a start message', t => failsWith(t, 64, 'message', /ended in the middle/, { begin: l => l.sendText('{"protocol":1') }));
test('garbage for a start message is not repeated', async t => {
  const failed = await failsWith(t, 64, 'message', /not JSON/, { begin: l => l.sendText('boot_secret deadbeef\n') });
  assert.doesNotMatch(JSON.stringify(failed), /deadbeef/);
});
test('a start message without end', t => failsWith(t, 64, 'message', /longer than 1048576 bytes/, { begin: l => l.sendText('x'.repeat(3 << 20)) }));
test('another protocol', t => failsWith(t, 64, 'message', /protocol 2 is not known/, { begin: l => l.send({ protocol: 2, port: 1 }) }));
test('a bad port', t => failsWith(t, 64, 'message', /"port" must be a port from 1 to 65535/, { begin: l => l.send({ port: '80' }) }));

test('a config file that is missing', t => {
  const run = runDirectory();
  fs.rmSync(run.file('host.json'));
  return failsWith(t, 65, 'config', /config file: can't read .*host\.json: ENOENT/, { run, begin: l => l.send({ port: 40000 }) });
});
for (const [what, value, reason] of [
  ['an unknown secret', { x: 'a ${HOME} b' }, /app-config\.json: organization\.x: "HOME" is not a secret of this workspace/],
  ['a file of the machine', { $file: '/etc/passwd' }, /organization: \$file "\/etc\/passwd" is not allowed/],
  ['an include', { $include: '../host.json' }, /\$include "\.\.\/host\.json" is not allowed/],
  ['the environment', [{ $env: 'PATH' }], /organization\[0\]: "PATH" is not a secret/],
]) test(`config that reaches for ${what}`, t => failsWith(t, 65, 'config', reason, {
  run: runDirectory({ app: { organization: value } }), begin: l => l.send({ port: 40000 }),
}));

test('a port in use', async t => {
  const server = http.createServer();
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address();
  await failsWith(t, 75, 'listen', new RegExp(`^port ${port} is in use by another process`), { run: runDirectory({ port }), begin: l => l.send({ port }) });
});

test('plugins that are broken are reported and the rest serves', async t => {
  const dist = withPlugins(t, plugins => Object.assign(plugins, {
    absent: { backend: ['@example/never-installed'] },
    'throws-at-require': { backend: [fixture('throws-at-require.js')] },
    'throws-at-init': { backend: [fixture('throws-at-init.js')] },
  }));
  const port = await freePort();
  const run = runDirectory({ port });
  t.after(run.remove);
  const instance = new Launcher(dist, run, { fd4: true }).send({ port, plugins: ['absent', 'throws-at-require', 'throws-at-init'] });
  t.after(() => instance.child.kill('SIGKILL'));
  const { plugins } = await instance.event('started');
  const reason = Object.fromEntries(plugins.filter(p => p.outcome === 'failed').map(p => [p.id, p.reason]));
  assert.deepEqual(Object.keys(reason), ['absent', 'throws-at-require', 'throws-at-init']);
  assert.match(reason.absent, /could not be loaded: Cannot find module '@example\/never-installed'/);
  assert.match(reason['throws-at-require'], /could not be loaded: broken at require/);
  assert.match(reason['throws-at-init'], /^broken at init/);
  assert.equal((await instance.get('/api/catalog/entities?limit=1', { authorization: `Bearer ${PROBE_TOKEN}` })).status, 200);
  assert.equal(await instance.stop(), 0);
});

test('an essential plugin that is broken ends the launch', async t => {
  const load = withPlugins(t, plugins => { plugins.catalog.backend.push(fixture('throws-at-require.js')); });
  await failsWith(t, 70, 'load', /^plugin catalog, which every instance needs, failed: could not be loaded: broken at require/, { dist: load, begin: l => l.send({ port: 40000 }) });
  const port = await freePort();
  const init = withPlugins(t, plugins => { plugins['throws-at-init'] = { always: true, essential: true, backend: [fixture('throws-at-init.js')] }; });
  const failed = await failsWith(t, 70, 'start', /^plugin throws-at-init, which every instance needs, failed: broken at init/, { dist: init, run: runDirectory({ port }), begin: l => l.send({ port }) });
  assert.equal(failed.plugins.find(p => p.id === 'catalog').outcome, 'ready');
});

test('an uncaught error, a long log line and a chatty library do not hurt a serving instance', async t => {
  const dist = withPlugins(t, plugins => { plugins['misbehaves-later'] = { backend: [fixture('misbehaves-later.js')] }; });
  const port = await freePort();
  const run = runDirectory({ port });
  t.after(run.remove);
  const instance = new Launcher(dist, run).send({ port, plugins: ['misbehaves-later'] });
  t.after(() => instance.child.kill('SIGKILL'));
  await instance.event('started');
  await until('the error in the log', () => instance.logText().includes('thrown later'));
  const lines = instance.logText().split('\n').filter(Boolean);
  const long = lines.map(line => JSON.parse(line)).find(line => line.bytes > 1_000_000);
  assert.equal(long.message, 'a log line was too long and is cut');
  assert.ok(Math.max(...lines.map(line => Buffer.byteLength(line))) <= 65_536);
  assert.ok(lines.some(line => JSON.parse(line).message === 'printed past the logger'));
  assert.equal((await instance.get('/.backstage/health/v1/readiness')).status, 200);
  assert.equal(await instance.stop(), 0);
});

test('a serving instance holds neither the start message\'s descriptor nor an inheritable report file', async t => {
  const port = await freePort();
  const run = runDirectory({ port });
  t.after(run.remove);
  const instance = new Launcher(installed, run).send({ port });
  t.after(() => instance.child.kill('SIGKILL'));
  await instance.event('started');
  const proc = `/proc/${instance.child.pid}`;
  const open = fs.readdirSync(`${proc}/fd`).map(fd => [fd, fs.readlinkSync(`${proc}/fd/${fd}`)]);
  const reports = open.filter(([, target]) => target === run.file('report'));
  assert.equal(reports.length, 1);
  const flags = parseInt(/flags:\s*(\d+)/.exec(fs.readFileSync(`${proc}/fdinfo/${reports[0][0]}`, 'utf8'))[1], 8);
  assert.ok(flags & 0o2000000, 'close-on-exec');
  await until('the other end of fd 3 is closed', () => instance.child.stdio[3].readableEnded);
  assert.doesNotMatch(fs.readFileSync(`${proc}/cmdline`, 'utf8') + fs.readFileSync(`${proc}/environ`, 'utf8'), new RegExp(instance.message.boot_secret));
  assert.equal(await instance.stop(), 0);
});

test('a waiting launcher says that it is loaded, starts from there, and works without a report file', async t => {
  const port = await freePort();
  const run = runDirectory({ port });
  t.after(run.remove);
  const instance = new Launcher(installed, run);
  t.after(() => instance.child.kill('SIGKILL'));
  const loaded = await instance.event('loaded');
  assert.equal(loaded.flaw, undefined, 'every plugin could be started for nobody');
  assert.equal(fs.readFileSync(run.file('log'), 'utf8'), '', 'and said nothing');
  instance.send({ port, plugins: ['search'] });
  const started = await instance.event('started');
  assert.deepEqual(started.plugins.map(p => p.id), ['app', 'auth', 'catalog', 'permission', 'search']);
  assert.equal(await instance.stop(), 0);

  const second = new Launcher(installed, run, { fd4: false }).send({ port });
  t.after(() => second.child.kill('SIGKILL'));
  await until('ready without fd 4', () => second.get('/.backstage/health/v1/readiness').then(r => r.status === 200, () => false));
  assert.equal(await second.stop(), 0);
});

test('a waiting launcher obeys SIGTERM', async t => {
  const run = runDirectory();
  t.after(run.remove);
  const launcher = new Launcher(installed, run);
  await launcher.event('loaded');
  assert.equal(await launcher.stop(), 0);
  assert.equal(launcher.events().at(-1).event, 'stopping');
});
