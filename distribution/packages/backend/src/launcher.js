'use strict';
// The launcher: starts one Backstage instance for orbitd. orbitd runs it as `node packages/backend/src/launcher.js` with
// the instance's run directory as working directory; nobody else calls it.
//
//   load core ──► start message already there? ──yes──────────────────────────┐
//        │                                                                     ├─► config ─► load the chosen plugins ─► start
//        └─no─► warm pool: load every plugin, rehearse (rehearsal.js), ────────┘                                        │
//               report `loaded`, wait for it                                            serving ◄─ report `started` ◄───┘
//
// fd 3 brings the start message (start-message.js), fd 4 takes the reports (report.js), stdout takes the log (logger.js).
// Every way to fail reports {"event":"failed","phase":…,"reason":…} and exits with the phase's code (failure.js).

process.on('SIGHUP', () => {}); // the daemon's terminal may go; the instance stays
process.stdout.on('error', () => {}); // a full disk must not end a serving instance
process.stderr.on('error', () => {});
process.env.NODE_ENV = 'production';
// orbitd's config files are the only source of config; Backstage lets these override any file.
for (const name of Object.keys(process.env)) if (name.startsWith('APP_CONFIG_')) delete process.env[name];

const path = require('node:path');
const { setImmediate: turn } = require('node:timers/promises');
const { enableCompileCache } = require('./compile-cache');
const { Failure, oneLine } = require('./failure');
const { openReport } = require('./report');
const { receiveStartMessage } = require('./start-message');

/** The major version that better-sqlite3 was compiled for; 24 aborts with it. */
const NODE_MAJOR = '22';
const ROOT = path.resolve(__dirname, '../../..'); // of the installed distribution: read-only for us
/** A start that takes longer hangs in some plugin's init. orbitd's own deadline is usually shorter. */
const START_DEADLINE_MS = 300_000;

try {
  process.dlopen({ exports: {} }, path.join(__dirname, 'park.node')); // see park.c
} catch {} // an install without it: a suspended instance keeps the pages that others map too

const report = openReport(4);
let plugins; // PluginSet, once the manifest is read
let handedOver = false; // Backstage's own signal and error handlers are in place
let waiting = false; // for a workspace; what a rehearsal left behind may complain meanwhile
let stopping = false;

function fail(error) {
  const failure = error instanceof Failure ? error : new Failure('start', oneLine(error), { cause: error });
  report.write({ event: 'failed', phase: failure.phase, reason: failure.message, plugins: plugins?.outcomes() ?? [] });
  process.stderr.write(`orbit launcher: ${failure.phase}: ${failure.message}\n`);
  process.exit(failure.exitCode);
}

process.on('SIGTERM', () => {
  if (stopping) return;
  stopping = true;
  report.write({ event: 'stopping' });
  if (!handedOver) process.exit(0);
});
process.on('uncaughtException', error => { if (!handedOver && !waiting) fail(error); });
process.on('unhandledRejection', error => { if (!handedOver && !waiting) fail(error); });

/** Loads what can be loaded before the start message is there; gives up the moment it is. */
async function load(incoming) {
  const core = require('./core');
  const { readManifest, PluginSet } = require('./plugins');
  plugins = new PluginSet(readManifest(path.join(ROOT, 'plugins.json')));
  for (let i = 0; i < 3 && !incoming.arrived; i++) await turn();
  for (const id of plugins.ids()) {
    if (incoming.arrived) return core;
    plugins.load(id);
    await turn();
  }
  core.warmUp();
  if (incoming.arrived) return core;
  const { rehearse } = require('./rehearsal');
  waiting = true;
  const flaw = await rehearse(core, plugins.another());
  report.write({ event: 'loaded', ms: Math.round(performance.now()), ...(flaw ? { flaw } : {}) });
  return core;
}

async function main() {
  if (process.versions.node.split('.')[0] !== NODE_MAJOR)
    throw new Failure('load', `this distribution runs on Node ${NODE_MAJOR}, not ${process.version}: start the launcher with the node that distribution.json names`);
  enableCompileCache(ROOT);
  const incoming = receiveStartMessage(3); // listens from now on; loading blocks for a second or so
  const core = await load(incoming);
  const waited = !incoming.arrived;
  const start = await incoming.message;
  waiting = false;
  // orbitd moves a waiting process into the workspace's home, directory and all: what Node remembers of its place is old.
  process.chdir('.');
  process.env.HOME = process.cwd();
  process.env.TMPDIR = path.resolve('tmp');
  if (start.user) {
    // It was started before its user was known, as orbitd's; nothing of the workspace was read yet.
    process.setgroups([]);
    process.setgid(start.user);
    process.setuid(start.user);
  }
  const beganAt = waited ? performance.now() : 0; // a cold start counts from the start of the process

  const { InstanceConfig } = require('./config');
  const config = InstanceConfig.load(start);
  plugins.choose(start.plugins, config);
  if (!waited) report.write({ event: 'loaded', ms: Math.round(performance.now()) });
  plugins.assertEssentials('load');
  config.addLaunchSettings(plugins, start);

  const deadline = setTimeout(() => {
    fail(new Failure('start', `Backstage did not finish starting in ${START_DEADLINE_MS / 1000} s: the instance's log names the plugins that are still initializing`));
  }, START_DEADLINE_MS);
  const backend = core.build({ config, start, features: plugins.features() });
  if (stopping) return;
  handedOver = true;
  try {
    const { result } = await backend.start();
    plugins.settle(result);
  } catch (error) {
    handedOver = false;
    if (error.result) plugins.settle(error.result);
    plugins.assertEssentials('start');
    throw core.explainStartFailure(error, start.port);
  } finally {
    clearTimeout(deadline);
  }
  report.write({
    event: 'started',
    boot_id: start.boot_id,
    pid: process.pid,
    port: start.port,
    ms: Math.round(performance.now() - beganAt),
    plugins: plugins.outcomes(),
  });
}

main().catch(fail);
