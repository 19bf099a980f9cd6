'use strict';
// Plays orbitd for the tests: signs identities, answers for Backstage's auth service, starts and stops launchers.
const { spawn, execFileSync } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

/** An installed distribution: $ORBIT_DISTRIBUTION, or the cached install of these sources. */
function distribution() {
  const sources = path.resolve(__dirname, '..');
  const cache = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache');
  const root = process.env.ORBIT_DISTRIBUTION
    || path.join(cache, 'orbitd/distribution', execFileSync(path.join(sources, 'install.sh'), ['--key']).toString().trim());
  const about = JSON.parse(fs.readFileSync(path.join(root, 'distribution.json'), 'utf8'));
  return { root, node: path.resolve(root, about.node), launcher: path.join(root, about.launcher) };
}

const b64 = value => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

class Signer {
  constructor() {
    Object.assign(this, crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }));
    this.kid = crypto.randomUUID();
  }

  jwk() {
    return { ...this.publicKey.export({ format: 'jwk' }), kid: this.kid, alg: 'ES256', use: 'sig' };
  }

  sign(text) {
    return crypto.sign('sha256', Buffer.from(text), { key: this.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url');
  }

  userToken(sub, { lifetime = 3600 } = {}) {
    const iat = Math.floor(Date.now() / 1000);
    const exp = iat + lifetime;
    const uip = this.sign(`${b64({ typ: 'vnd.backstage.limited-user', alg: 'ES256', kid: this.kid })}.${b64({ sub, iat, exp })}`);
    const body = `${b64({ typ: 'vnd.backstage.user', alg: 'ES256', kid: this.kid })}.${b64({ iss: 'orbitd', sub, aud: 'backstage', iat, exp, uip })}`;
    return `${body}.${this.sign(body)}`;
  }
}

/** The internal listener: JWKS and user info under a secret path. */
async function internalListener(signer) {
  const secret = crypto.randomBytes(24).toString('base64url');
  const server = http.createServer((req, res) => {
    const answer = body => res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (req.url === `/i/${secret}/api/auth/.well-known/jwks.json`) return answer({ keys: [signer.jwk()] });
    if (req.url === `/i/${secret}/api/auth/v1/userinfo`) {
      const { sub } = JSON.parse(Buffer.from(req.headers.authorization.split('.')[1], 'base64url'));
      return answer({ claims: { sub, ent: ['group:default/team-a'] } });
    }
    res.writeHead(404).end();
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    target: `http://127.0.0.1:${server.address().port}/i/${secret}/api/{{pluginId}}`,
    secret,
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

function freePort() {
  return new Promise(resolve => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Waits until `probe` returns something truthy. */
async function until(what, probe, deadlineMs = 60_000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

const PROBE_TOKEN = 'probe-4f1c0a9be5d24f3f9c07a1';

/** A run directory with the two config files orbitd writes, and what they say. */
function runDirectory({ port = 1, endpoint = 'http://127.0.0.1:1/i/none/api/{{pluginId}}', app = {}, host = {} } = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'orbit-dist-test-'));
  const file = name => path.join(dir, name);
  const baseUrl = `http://acme.localhost:${port}`;
  const write = (name, data) => fs.writeFileSync(file(name), typeof data === 'string' ? data : JSON.stringify(data));
  fs.mkdirSync(file('catalog'));
  write('catalog/web.yaml', [
    'apiVersion: backstage.io/v1alpha1', 'kind: Component', 'metadata: {name: web, annotations: {backstage.io/techdocs-ref: "dir:."}}',
    'spec: {type: service, lifecycle: production, owner: team-a}', '---',
    'apiVersion: backstage.io/v1alpha1', 'kind: Group', 'metadata: {name: team-a}', 'spec: {type: team, children: []}', '',
  ].join('\n'));
  write('app-config.json', {
    app: { title: 'Acme Portal', baseUrl },
    organization: { name: 'Acme' },
    backend: { baseUrl },
    catalog: {
      rules: [{ allow: ['Component', 'API', 'Resource', 'System', 'Domain', 'Location', 'Template', 'User', 'Group'] }],
      locations: [{ type: 'file', target: `${dir}/catalog/*.yaml` }],
    },
    ...app,
  });
  write('host.json', {
    backend: {
      listen: { host: '127.0.0.1' },
      csp: { 'upgrade-insecure-requests': false },
      database: { client: 'better-sqlite3', connection: { directory: file('db') } },
      auth: { externalAccess: [{ type: 'static', options: { token: PROBE_TOKEN, subject: 'orbitd-probe' }, accessRestrictions: [{ plugin: 'catalog' }] }] },
    },
    discovery: { endpoints: [{ target: { internal: endpoint }, plugins: ['auth'] }] },
    permission: { enabled: true },
    ...host,
  });
  return { dir, file, write, remove: () => fs.rmSync(dir, { recursive: true, force: true }) };
}

/** A launcher process: `send` gives it its start message, `event` waits for a line of its report. */
class Launcher {
  constructor({ node, launcher }, run, { fd3 = 'pipe', fd4 = true } = {}) {
    this.run = run;
    run.write('report', '');
    const report = fd4 ? fs.openSync(run.file('report'), 'a') : 'ignore';
    this.log = fs.openSync(run.file('log'), 'a');
    this.child = spawn(node, [launcher], { cwd: run.dir, env: { PATH: process.env.PATH }, stdio: ['ignore', this.log, 'pipe', fd3, report] });
    this.stderr = '';
    this.child.stderr.on('data', data => { this.stderr += data; });
    this.child.stdio[3]?.on('error', () => {}).resume(); // the launcher may be gone before it has read
    this.exit = new Promise(resolve => this.child.on('close', (code, signal) => resolve(code ?? signal)));
    if (fd4) fs.closeSync(report);
    fs.closeSync(this.log);
  }

  send(message) {
    this.message = {
      protocol: 1, boot_id: crypto.randomUUID(), boot_secret: crypto.randomBytes(32).toString('hex'), workspace: 'acme', socket: 'http.sock',
      config_files: [this.run.file('app-config.json'), this.run.file('host.json')], plugins: [], secret_files: {}, ...message,
    };
    this.child.stdio[3].write(`${JSON.stringify(this.message)}\n`);
    return this;
  }

  sendText(text) {
    this.child.stdio[3].end(text);
    return this;
  }

  events() {
    return fs.readFileSync(this.run.file('report'), 'utf8').split('\n').filter(Boolean).map(line => JSON.parse(line));
  }

  event(name) {
    return until(`report ${name}`, () => {
      const found = this.events().find(e => e.event === name);
      if (!found && this.child.exitCode !== null) throw new Error(`exited with ${this.child.exitCode} before ${name}: ${this.stderr}`);
      return found;
    });
  }

  async get(url, headers = {}) {
    const response = await new Promise((resolve, reject) => {
      http.get({ socketPath: this.run.file('http.sock'), path: url, headers: { connection: 'close', ...headers } }, resolve).on('error', reject);
    });
    const chunks = await response.toArray();
    const fields = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
    return { status: response.statusCode, headers: new Headers(fields), text: Buffer.concat(chunks).toString('utf8') };
  }

  async stop() {
    this.child.kill('SIGTERM');
    return this.exit;
  }

  logText() {
    return fs.readFileSync(this.run.file('log'), 'utf8');
  }
}

module.exports = { distribution, Signer, internalListener, freePort, until, runDirectory, Launcher, PROBE_TOKEN };
