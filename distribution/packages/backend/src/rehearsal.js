'use strict';
// A waiting process starts Backstage once for nobody: every plugin, on a database in memory, without configuration, reachable by
// no one, silent; and stops it again. What a first start has to do that a second has not (functions to compile, modules that are
// loaded when they are first used) is over then: the real start takes 0.4 s instead of 0.65.
//
// Nothing of a workspace is known yet, so nothing of one can be left behind. A plugin that can't be started twice in one process
// says `"rehearse": false` in plugins.json.
const path = require('node:path');
const v8 = require('node:v8');
const vm = require('node:vm');
const { setTimeout: pause } = require('node:timers/promises');
const { InstanceConfig } = require('./config');
const { oneLine } = require('./failure');

/** What plugins begin once they are started comes to an end before they are stopped: stopped at once, some complain late. */
const SETTLE_MS = 400;
const DEADLINE_MS = 60_000;

/**
 * Never rejects; returns why it did not go well, if so: the process is as useful as one that did not rehearse.
 * @param core core.js, loaded
 * @param plugins a PluginSet of its own
 */
async function rehearse(core, plugins) {
  const start = { workspace: 'rehearsal', port: 0, boot_id: '', boot_secret: '00'.repeat(32) };
  const nowhere = 'http://127.0.0.1:1';
  const data = {
    app: { title: 'rehearsal', baseUrl: nowhere },
    organization: { name: 'rehearsal' },
    backend: { baseUrl: nowhere, workingDirectory: path.resolve('tmp'), database: { client: 'better-sqlite3', connection: ':memory:' } },
  };
  let backend;
  try {
    const config = new InstanceConfig([{ data, context: 'rehearsal' }], []);
    plugins.choose(plugins.ids().filter(id => plugins.rehearses(id)), config);
    config.addLaunchSettings(plugins, start);
    backend = core.build({ config, start, features: plugins.features(), rehearsal: true });
    await inTime(backend.start());
    await pause(SETTLE_MS);
  } catch (error) {
    return oneLine(error);
  } finally {
    await inTime(backend?.stop()).catch(() => {});
    collectGarbage();
  }
}

function inTime(promise) {
  return Promise.race([promise, pause(DEADLINE_MS, undefined, { ref: false }).then(() => { throw new Error(`not done in ${DEADLINE_MS / 1000} s`); })]);
}

/** What the rehearsal leaves is of no use to anybody: a waiting process is to be small. */
function collectGarbage() {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  collect();
}

module.exports = { rehearse };
