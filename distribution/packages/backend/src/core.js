'use strict';
// Backstage's own framework, loaded first (about half of the loading time), and how an instance's backend is put together.
const path = require('node:path');
const { createBackend } = require('@backstage/backend-defaults');
const { coreServices, createServiceFactory } = require('@backstage/backend-plugin-api');
const { rootHttpRouterServiceFactory } = require('@backstage/backend-defaults/rootHttpRouter');
const { answerBootChallenge } = require('./boot-challenge');
const { Failure, oneLine } = require('./failure');
const { listenBehindDoor, listenNowhere } = require('./listen');
const { createRootLogger } = require('./logger');
const { appSchema, shareApiSchema } = require('./schemas');

const ROOT = path.resolve(__dirname, '../../..');

shareApiSchema();

/** What an instance loads only once it starts: the database drivers. A waiting process does it ahead. */
function warmUp() {
  try { require('pg'); } catch {} // reported when an instance needs it
  try {
    new (require('better-sqlite3'))(':memory:').close();
  } catch {}
}

/** @param rehearsal for nobody: it listens nowhere and logs nothing */
function build({ config, start, features, rehearsal = false }) {
  const reader = config.reader();
  const backend = createBackend();
  const root = (service, factory, deps = {}) => backend.add(createServiceFactory({ service, deps, factory }));
  const logger = createRootLogger(reader, [...config.secrets, start.boot_secret], { silent: rehearsal });
  root(coreServices.rootConfig, () => reader);
  root(coreServices.rootLogger, () => logger);
  backend.add(rootHttpRouterServiceFactory({
    configure({ app, server, applyDefaults }) {
      if (rehearsal) listenNowhere(server);
      else if (start.socket) listenBehindDoor(server, start);
      app.disable('x-powered-by');
      app.get('/.orbit/v1/boot', answerBootChallenge(start)); // first: it answers as soon as the socket listens
      applyDefaults();
    },
  }));
  backend.add(appSchema(ROOT));
  for (const feature of features) backend.add(feature);
  return backend;
}

/** Turns what start() rejects with into a Failure that says what to do. */
function explainStartFailure(error, port) {
  for (let e = error, depth = 0; e && depth < 6; e = e.cause, depth++) {
    if (e.code === 'EADDRINUSE') return new Failure('listen', `port ${port} is in use by another process: start the instance on another port`, { cause: error });
    if (e.code === 'EACCES' && e.syscall === 'listen') return new Failure('listen', `not allowed to listen on port ${port}: choose one above 1023`, { cause: error });
    if (e.code === 'ERR_DLOPEN_FAILED') return new Failure('start', `a native module does not fit Node ${process.version} (${oneLine(e)}): start the launcher with the Node that distribution.json names`, { cause: error });
  }
  return new Failure('start', oneLine(error), { cause: error });
}

module.exports = { build, warmUp, explainStartFailure };
