'use strict';
// Which plugins this instance gets, and what became of each. A plugin is a set of backend packages (plugins.json). One that
// can't be loaded, lacks its config or fails at init is reported and left out; only an essential one ends the launch.
const fs = require('node:fs');
const { Failure, oneLine } = require('./failure');

/** Reads plugins.json: id → { essential?, always?, rehearse?, description, backend: [package], app: [package], required_config: [path] }. */
function readManifest(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')).plugins;
  } catch (error) {
    throw new Failure('load', `the distribution's ${file} can't be read (${oneLine(error)}): install the distribution again`);
  }
}

class PluginSet {
  #manifest;
  #loaded = new Map(); // id → { features } | { reason }
  #outcomes = new Map(); // id → { id, outcome, reason? }, in the order of the choice

  constructor(manifest) {
    this.#manifest = manifest;
  }

  ids() {
    return Object.keys(this.#manifest);
  }

  /** Of the same manifest, nothing chosen yet. */
  another() {
    return new PluginSet(this.#manifest);
  }

  /** Whether a plugin may be started once for nobody. */
  rehearses(id) {
    return this.#manifest[id].rehearse !== false;
  }

  /** Loads a plugin's packages once; what goes wrong is kept for its outcome. */
  load(id) {
    if (this.#loaded.has(id)) return;
    try {
      const features = this.#manifest[id].backend.map(name => {
        const loaded = require(name);
        const feature = loaded.default ?? loaded;
        if (!feature?.$$type && typeof feature !== 'function') throw new Error(`${name} has no backend feature as its default export`);
        return feature;
      });
      this.#loaded.set(id, { features });
    } catch (error) {
      this.#loaded.set(id, { reason: `could not be loaded: ${oneLine(error)}` });
    }
  }

  /** Settles who takes part: the always-on plugins and the wanted ones whose config is there. Loads them. */
  choose(wanted, config) {
    const always = this.ids().filter(id => this.#manifest[id].always);
    for (const id of new Set([...always, ...wanted])) {
      const entry = Object.hasOwn(this.#manifest, id) ? this.#manifest[id] : undefined;
      if (!entry) {
        this.#set(id, 'left-out', `this distribution has no plugin "${id}": choose from ${this.ids().join(', ')}`);
        continue;
      }
      const missing = (entry.required_config ?? []).filter(key => !config.has(key));
      if (missing.length) {
        const verb = missing.length > 1 ? 'are' : 'is';
        this.#set(id, 'left-out', `${missing.join(' and ')} ${verb} not configured: add it under [app_config.${missing[0].split('.').slice(0, -1).join('.') || missing[0]}] in the workspace's configuration, or remove the plugin`);
        continue;
      }
      this.load(id);
      const { reason } = this.#loaded.get(id);
      if (reason) this.#set(id, 'failed', reason);
      else this.#set(id, 'ready');
    }
  }

  /** Takes over what Backstage's start() says of each plugin and module. */
  settle(result) {
    for (const { pluginId, failure, modules } of result.plugins) {
      if (this.#outcomes.get(pluginId)?.outcome === 'failed') continue;
      const bad = modules.find(module => module.failure);
      if (failure) this.#set(pluginId, 'failed', oneLine(failure.error));
      else if (bad) this.#set(pluginId, 'failed', `module ${bad.moduleId}: ${oneLine(bad.failure.error)}`);
    }
  }

  /** Throws if a plugin that the instance can't do without has failed. */
  assertEssentials(phase) {
    for (const { id, outcome, reason } of this.#outcomes.values())
      if (outcome !== 'ready' && this.#manifest[id]?.essential) throw new Failure(phase, `plugin ${id}, which every instance needs, ${outcome === 'failed' ? 'failed' : 'was left out'}: ${reason}`);
  }

  essential() {
    return this.ids().filter(id => this.#manifest[id].essential);
  }

  features() {
    return this.#ready().flatMap(id => this.#loaded.get(id).features);
  }

  /** The packages of the browser app that belong to the plugins taking part. */
  appPackages() {
    return [...new Set(this.#ready().flatMap(id => this.#manifest[id].app ?? []))];
  }

  outcomes() {
    return [...this.#outcomes.values()];
  }

  #ready() {
    return this.outcomes().filter(o => o.outcome === 'ready').map(o => o.id);
  }

  #set(id, outcome, reason) {
    this.#outcomes.set(id, reason ? { id, outcome, reason } : { id, outcome });
  }
}

module.exports = { readManifest, PluginSet };
