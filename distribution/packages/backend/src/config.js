'use strict';
// The instance's configuration: the files orbitd names (a later one wins), then the settings that are the launcher's to
// decide. Read once, never watched. Unlike Backstage's own loader this one can reach nothing but the workspace's secrets:
// ${NAME}, {$env: NAME} and {$file: path} stand for a file of secret_files; {$include: …} and anything else is refused.
const fs = require('node:fs');
const path = require('node:path');
const yaml = require('yaml');
const { ConfigReader } = require('@backstage/config');
const { Failure, oneLine } = require('./failure');
const { loopbackSecret } = require('./listen');

const MAX_FILE = 8 << 20; // bytes of one config file
const MAX_SECRET = 256 << 10; // bytes of one secret
const MAX_DEPTH = 100; // levels of nesting
const REFERENCE = /(\$?\$\{[^{}]*\})/;

class InstanceConfig {
  #layers;
  /** Values of secret_files, for redaction. */
  secrets;

  static load({ config_files, secret_files }) {
    const secrets = new Map();
    for (const [name, file] of Object.entries(secret_files)) secrets.set(name, read(file, MAX_SECRET, `secret ${name}`).trimEnd());
    const named = new Map(Object.entries(secret_files).map(([name, file]) => [path.normalize(file), name]));
    const layers = config_files.map(file => {
      const context = path.basename(file);
      const resolver = new Resolver(context, secrets, named);
      const data = resolver.resolve(parse(file), '', 0) ?? {};
      if (typeof data !== 'object' || Array.isArray(data)) throw new Failure('config', `${file}: the top level must be an object`);
      return { data, context };
    });
    return new InstanceConfig(layers, [...secrets.values()]);
  }

  constructor(layers, secrets) {
    this.#layers = layers;
    this.secrets = secrets;
  }

  reader() {
    return ConfigReader.fromConfigs(this.#layers);
  }

  has(key) {
    try {
      return this.reader().getOptional(key) !== undefined;
    } catch {
      return false; // the key leads through something that is not an object
    }
  }

  /** How plugins find each other: through the loopback port's secret path, but for those that a file sends elsewhere. */
  endpoints(start) {
    const inside = `http://127.0.0.1:${start.port}/${loopbackSecret(start)}/api/{{pluginId}}`;
    return [{ target: { internal: inside }, plugins: ['*'] }, ...(this.reader().getOptional('discovery.endpoints') ?? [])];
  }

  /** What no file may change: the port, which failures end the start, and the browser app's plugins. */
  addLaunchSettings(plugins, start) {
    const abort = { onPluginBootFailure: 'abort' };
    const listen = this.reader().getOptional('backend.listen');
    const host = (typeof listen === 'object' ? listen?.host : undefined) ?? '127.0.0.1';
    this.#layers.unshift({ context: 'launcher-defaults', data: defaults(process.cwd()) });
    if (this.reader().getString('backend.workingDirectory') === path.resolve('work')) makeDirectory(path.resolve('work'));
    this.#layers.push({
      context: 'launcher',
      data: {
        ...(start.socket ? { discovery: { endpoints: this.endpoints(start) } } : {}),
        app: { packages: { include: plugins.appPackages() } },
        backend: {
          listen: { host, port: start.port },
          startup: {
            default: { onPluginBootFailure: 'continue', onPluginModuleBootFailure: 'continue' },
            plugins: Object.fromEntries(plugins.essential().map(id => [id, abort])),
          },
        },
      },
    });
  }
}

/** Right for every instance of this distribution; any file may change them. `run` is the instance's run directory. */
function defaults(run) {
  return {
    app: { disableStaticFallbackCache: true }, // else every workspace stores all assets of the app in its database
    backend: {
      server: { keepAliveTimeout: { seconds: 75 } }, // Node's 5 s closes connections that orbitd's pool is about to use
      workingDirectory: path.join(run, 'work'), // the scaffolder's; Backstage's default is the machine's /tmp
    },
    techdocs: {
      builder: 'external',
      generator: { runIn: 'local' },
      publisher: { type: 'local', local: { publishDirectory: path.join(run, 'techdocs') } }, // default: in the shared install
    },
  };
}

function makeDirectory(dir) {
  try {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new Failure('config', `can't make the directory ${dir}: ${error.code}. An instance's user needs a run directory it can write`);
  }
}

class Resolver {
  constructor(context, secrets, named) {
    Object.assign(this, { context, secrets, named });
  }

  resolve(value, at, depth) {
    if (depth > MAX_DEPTH) this.refuse(at, `nested deeper than ${MAX_DEPTH} levels`);
    if (typeof value === 'string') return this.substitute(value, at);
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map((item, i) => this.resolve(item, `${at}[${i}]`, depth + 1));
    const directive = ['$env', '$file', '$include'].find(key => Object.hasOwn(value, key));
    if (directive) return this.direct(directive, value, at);
    const out = {};
    for (const [key, item] of Object.entries(value)) {
      if (key === '__proto__') this.refuse(at, 'a key may not be called __proto__');
      out[key] = this.resolve(item, at ? `${at}.${key}` : key, depth + 1);
    }
    return out;
  }

  direct(directive, value, at) {
    const target = value[directive];
    if (Object.keys(value).length > 1 || typeof target !== 'string') this.refuse(at, `${directive} takes one text and no other keys beside it`);
    if (directive === '$env') return this.secret(target, at);
    const name = directive === '$file' ? this.named.get(path.normalize(target)) : undefined;
    if (name === undefined) this.refuse(at, `${directive} "${target}" is not allowed: only the workspace's own secrets can be read, as \${NAME}`);
    return this.secrets.get(name);
  }

  substitute(text, at) {
    return text.split(REFERENCE).map((part, i) => {
      if (i % 2 === 0) return part;
      if (part.startsWith('$$')) return part.slice(1);
      const [name, ...fallback] = part.slice(2, -1).split(':-');
      if (fallback.length && !this.secrets.get(name.trim())) return fallback.join(':-').trim();
      return this.secret(name.trim(), at);
    }).join('');
  }

  secret(name, at) {
    const value = this.secrets.get(name);
    if (value === undefined) this.refuse(at, `"${name}" is not a secret of this workspace: declare it among the workspace's secrets, or write $\${${name}} to mean the text itself`);
    return value;
  }

  refuse(at, reason) {
    throw new Failure('config', `${this.context}: ${at || 'top level'}: ${reason}`);
  }
}

function read(file, limit, what) {
  try {
    const size = fs.statSync(file).size;
    if (size > limit) throw new Error(`it has ${size} bytes, more than ${limit}`);
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw new Failure('config', `${what}: can't read ${file}: ${error.code ?? error.message}`);
  }
}

function parse(file) {
  const text = read(file, MAX_FILE, 'config file');
  try {
    return file.endsWith('.json') ? JSON.parse(text) : yaml.parse(text);
  } catch (error) {
    throw new Failure('config', `${file}: ${file.endsWith('.json') ? 'not valid JSON' : `not valid YAML: ${oneLine(error)}`}`);
  }
}

module.exports = { InstanceConfig };
