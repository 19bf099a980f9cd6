// A router in JavaScript: sends /api/<plugin> to the plugin, and answers for plugins under maintenance itself.
//
// Each decision runs in a fresh copy of this module as it was after its top level ran at build time: keep tables and regular
// expressions at the top, they cost nothing later.

import schema from "./settings.js";

/** `/api/<plugin>/…`; Backstage compares paths without regard to case, so another spelling of /api is not the app. */
const PLUGIN = /^\/api\/([a-z][a-z0-9-]*)(?:\/|$)/;
const API_IN_DISGUISE = /^\/+(?:a|%61)(?:p|%70)(?:i|%69)(?:\/|%2f|$)/i;
const WRITES = new Set(["POST", "PUT", "PATCH", "DELETE"]);

const refuse = (status, reason) => ({ tag: "refuse", val: { status, reason } });
const forward = (plugin) => ({ tag: "forward", val: { plugin, timeoutMs: 0, extra: [] } });

export const routing = {
  describe() {
    return {
      name: "maintenance",
      version: "1.0.0",
      // What a decision depends on: the host passes nothing else, and may remember a decision by exactly these.
      inputs: ["method", "path"],
      settingsSchema: JSON.stringify(schema),
    };
  },

  // A thrown text is the `err` of the WIT: it says in one sentence what the operator must change.
  configure(text) {
    const settings = JSON.parse(text);
    for (const key of Object.keys(settings)) {
      if (!(key in schema.properties)) {
        throw `unknown setting ${key}; there are ${Object.keys(schema.properties).join(", ")}`;
      }
    }
    const { plugins, maintenance = {}, writes_only = true } = settings;
    if (!Array.isArray(plugins) || plugins.length === 0 || plugins.some((plugin) => typeof plugin !== "string")) {
      throw "plugins must be a list of plugin names with at least one in it";
    }
    if (typeof maintenance !== "object" || maintenance === null || Array.isArray(maintenance)) {
      throw "maintenance must be a table of plugin names and sentences";
    }
    for (const [plugin, sentence] of Object.entries(maintenance)) {
      if (!plugins.includes(plugin)) throw `maintenance names ${plugin}, which is not among plugins`;
      if (typeof sentence !== "string") throw `maintenance.${plugin} must be a sentence`;
    }
    if (typeof writes_only !== "boolean") throw "writes_only must be true or false";
    const prepared = { plugins, maintenance, writesOnly: writes_only };
    return { settings: new TextEncoder().encode(JSON.stringify(prepared)), inputs: [] };
  },

  route(bytes, request) {
    const settings = JSON.parse(new TextDecoder().decode(bytes));
    const plugin = PLUGIN.exec(request.path)?.[1];
    if (plugin === undefined) {
      return API_IN_DISGUISE.test(request.path) ? refuse(404, "there is no such path") : forward("");
    }
    if (!settings.plugins.includes(plugin)) {
      return refuse(404, `plugin ${plugin} is not part of tier ${request.tier}`);
    }
    const sentence = settings.maintenance[plugin];
    if (sentence !== undefined && (!settings.writesOnly || WRITES.has(request.method))) {
      return refuse(503, sentence);
    }
    return forward(plugin);
  },
};
