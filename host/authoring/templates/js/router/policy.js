// {{name}}: a router. It says which plugin a request is for, or refuses it.
//
// Each decision runs in a fresh copy of this module as it was after its top level ran at build time.

import schema from "./settings.js";

const refuse = (status, reason) => ({ tag: "refuse", val: { status, reason } });
const forward = (plugin) => ({ tag: "forward", val: { plugin, timeoutMs: 0, extra: [] } });

export const routing = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      // What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
      inputs: ["path"],
      settingsSchema: JSON.stringify(schema),
    };
  },

  // Once, at load. A thrown text is for the operator: it says in one sentence what to change.
  configure(text) {
    const settings = JSON.parse(text);
    for (const key of Object.keys(settings)) {
      if (!(key in schema.properties)) throw `unknown setting ${key}`;
    }
    const { plugins, refusal = schema.properties.refusal.default } = settings;
    if (!Array.isArray(plugins) || plugins.length === 0) {
      throw "plugins must be a list with at least one plugin in it";
    }
    return { settings: new TextEncoder().encode(JSON.stringify({ plugins, refusal })), inputs: [] };
  },

  // For each request, in a fresh sandbox.
  route(bytes, request) {
    const { plugins, refusal } = JSON.parse(new TextDecoder().decode(bytes));
    const [, first, plugin = ""] = request.path.split("/");
    // The browser app's own files.
    if (first !== "api") return forward("");
    if (plugins.includes(plugin)) return forward(plugin);
    return refuse(404, refusal.replaceAll("{plugin}", plugin).replaceAll("{tier}", request.tier));
  },
};
