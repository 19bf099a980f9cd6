'use strict';
// One instance with every plugin wanted: what it reports, whom it lets in, what it shows, how it stops.
const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const path = require('node:path');
const { test, before, after } = require('node:test');
const { distribution, Signer, internalListener, freePort, until, runDirectory, Launcher, PROBE_TOKEN } = require('./orbitd');

const signer = new Signer();
const alice = signer.userToken('user:default/alice');
const bearer = token => ({ authorization: `Bearer ${token}` });
let orbitd;
let run;
let instance;
let started;

before(async () => {
  const port = await freePort();
  orbitd = await internalListener(signer);
  run = runDirectory({ port, endpoint: orbitd.target, app: {
    proxy: { endpoints: { '/echo': { target: 'http://127.0.0.1:9', headers: { Authorization: 'Bearer ${ECHO_TOKEN}' } } } },
  } });
  run.write('echo-token', 'first-"quoted"-value\n');
  instance = new Launcher(distribution(), run).send({
    port,
    plugins: ['catalog', 'scaffolder', 'search', 'techdocs', 'kubernetes', 'proxy', 'notifications', 'signals', 'argocd', 'nonsense'],
    secret_files: { ECHO_TOKEN: run.file('echo-token') },
  });
  started = await instance.event('started');
});

after(async () => {
  if (instance.child.exitCode === null) await instance.stop();
  orbitd.close();
  run.remove();
});

test('reports its start and every plugin\'s outcome', () => {
  assert.equal(started.boot_id, instance.message.boot_id);
  assert.equal(started.pid, instance.child.pid);
  assert.equal(started.port, instance.message.port);
  const outcome = Object.fromEntries(started.plugins.map(p => [p.id, p]));
  for (const id of ['app', 'auth', 'catalog', 'permission', 'scaffolder', 'search', 'techdocs', 'proxy', 'notifications', 'signals'])
    assert.deepEqual(outcome[id], { id, outcome: 'ready' });
  assert.equal(outcome.argocd.outcome, 'left-out');
  assert.match(outcome.argocd.reason, /^argocd\.appLocatorMethods is not configured: add it under \[app_config\.argocd\]/);
  assert.equal(outcome.kubernetes.outcome, 'left-out');
  assert.equal(outcome.nonsense.outcome, 'left-out');
  assert.match(outcome.nonsense.reason, /no plugin "nonsense": choose from app, /);
  assert.deepEqual(instance.events().map(e => e.event), ['loaded', 'started']);
});

test('proves its boot secret', async () => {
  const challenge = crypto.randomBytes(32).toString('hex');
  const { status, text } = await instance.get(`/.orbit/v1/boot?challenge=${challenge}`);
  assert.equal(status, 200);
  const key = Buffer.from(instance.message.boot_secret, 'hex');
  const proof = crypto.createHmac('sha256', key).update(Buffer.from(challenge, 'hex')).digest('hex');
  assert.deepEqual(JSON.parse(text), { boot_id: instance.message.boot_id, pid: instance.child.pid, proof });
  for (const bad of ['', '?challenge=', '?challenge=xyz', '?challenge=abc', `?challenge=${'a'.repeat(130)}`, '?challenge=aa&challenge=bb'])
    assert.equal((await instance.get(`/.orbit/v1/boot${bad}`)).status, 400, bad);
});

test('its port is for its own plugins: nothing answers without the secret path', async () => {
  const { loopbackSecret } = require(path.join(path.dirname(distribution().launcher), 'listen.js'));
  const port = `http://127.0.0.1:${instance.message.port}`;
  const secret = loopbackSecret(instance.message);
  for (const url of ['/', '/.orbit/v1/boot?challenge=aa', '/.backstage/health/v1/readiness', `/${'0'.repeat(64)}/api/catalog/entities`, `/${secret}`])
    assert.equal((await fetch(`${port}${url}`)).status, 404, url);
  const own = await fetch(`${port}/${secret}/api/catalog/entities?limit=1`, { headers: bearer(alice) });
  assert.equal(own.status, 200);
  assert.ok(Array.isArray(await own.json()));
});

test('its plugins find each other by that path', async () => {
  const query = '/api/search/query?term=web'; // search asks the catalogue's collator through discovery, with the permission service
  const found = await until('the catalogue in the search index', async () => {
    const { status, text } = await instance.get(query, bearer(alice));
    return status === 200 && JSON.parse(text).results.length > 0;
  });
  assert.ok(found);
  assert.ok(!instance.logText().includes(require(path.join(path.dirname(distribution().launcher), 'listen.js')).loopbackSecret(instance.message)));
});

test('shows a catalogue file of the workspace to a user of the workspace\'s key, and to nobody else', async () => {
  const entity = await until('component web', async () => {
    const { status, text } = await instance.get('/api/catalog/entities/by-name/component/default/web', bearer(alice));
    return status === 200 && JSON.parse(text);
  });
  assert.equal(entity.metadata.name, 'web');
  const url = '/api/catalog/entities?limit=1';
  assert.equal((await instance.get(url)).status, 401);
  assert.equal((await instance.get(url, bearer(new Signer().userToken('user:default/alice')))).status, 401);
  assert.equal((await instance.get(url, bearer(signer.userToken('user:default/alice', { lifetime: -60 })))).status, 401);
});

test('takes limited user tokens where cookies are used', async () => {
  const { status, headers } = await instance.get('/api/techdocs/.backstage/auth/v1/cookie', bearer(alice));
  assert.equal(status, 200);
  const cookie = headers.get('set-cookie').split(';')[0];
  assert.match(cookie, /^backstage-auth=/);
  const page = '/api/techdocs/static/docs/default/component/web/index.html';
  assert.equal((await instance.get(page, { cookie })).status, 404); // let in; the page was not built
  assert.equal((await instance.get(page)).status, 401);
  const limited = cookie.split('=')[1];
  assert.equal((await instance.get('/api/catalog/entities?limit=1', bearer(limited))).status, 401);
});

test('lets the probe token read the catalogue and nothing else', async () => {
  const { status, text } = await instance.get('/api/catalog/entities?limit=1', bearer(PROBE_TOKEN));
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).length, 1);
  for (const url of ['/api/scaffolder/v2/tasks', '/api/search/query?term=x', '/api/proxy/echo'])
    assert.ok([401, 403].includes((await instance.get(url, bearer(PROBE_TOKEN))).status), url);
});

test('serves the browser app with the workspace\'s title and plugins', async () => {
  for (const url of ['/', '/catalog']) {
    const { status, text } = await instance.get(url, { accept: 'text/html' });
    assert.equal(status, 200);
    assert.match(text, /<title>Acme Portal<\/title>/);
    assert.match(text, /@backstage\/plugin-scaffolder/);
    assert.doesNotMatch(text, /@backstage\/plugin-kubernetes/); // it was left out
    assert.doesNotMatch(text, new RegExp(`${PROBE_TOKEN}|${orbitd.secret}|first-`));
  }
});

test('logs JSON lines without secrets', async () => {
  await instance.get('/api/catalog/entities?filter=first-%22quoted%22-value', bearer(PROBE_TOKEN));
  const text = instance.logText();
  for (const line of text.split('\n').filter(Boolean)) JSON.parse(line);
  for (const secret of ['first-"quoted"-value', 'first-\\"quoted\\"-value', PROBE_TOKEN, orbitd.secret, instance.message.boot_secret])
    assert.ok(!text.includes(secret), secret);
});

test('outlives SIGHUP and stops on SIGTERM within two seconds', async () => {
  instance.child.kill('SIGHUP');
  assert.equal((await instance.get('/.backstage/health/v1/readiness')).status, 200);
  const before = Date.now();
  assert.equal(await instance.stop(), 0);
  assert.ok(Date.now() - before < 2000, `took ${Date.now() - before} ms`);
  assert.equal(instance.events().at(-1).event, 'stopping');
  assert.equal(instance.stderr, '');
});
