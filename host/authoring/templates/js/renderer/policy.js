// {{name}}: a renderer. It makes a workspace's app-config from what the workspace asks for and what its tier allows.
//
// Each call runs in a fresh copy of this module as it was after its top level ran at build time.

import schema from "./settings.js";

export const rendering = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      // A renderer gets everything.
      inputs: [],
      settingsSchema: JSON.stringify(schema),
    };
  },

  // Once, at load. A thrown text is for the operator: it says in one sentence what to change.
  configure(text) {
    const settings = JSON.parse(text);
    for (const key of Object.keys(settings)) {
      if (!(key in schema.properties)) throw `unknown setting ${key}`;
    }
    const { plugins, allowed_keys = schema.properties.allowed_keys.default } = settings;
    if (!Array.isArray(plugins)) throw "plugins must be a list of plugins";
    return { settings: new TextEncoder().encode(JSON.stringify({ plugins, allowed_keys })), inputs: [] };
  },

  // Whenever the workspace's config, this module or its settings change. A thrown text is for the workspace's operator: the
  // last good revision keeps serving.
  render(bytes, request) {
    const settings = JSON.parse(new TextDecoder().decode(bytes));
    const config = JSON.parse(request.appConfig);
    for (const key of Object.keys(config)) {
      if (!settings.allowed_keys.includes(key)) {
        throw `${key} may not be set in tier ${request.tier}: take it out of app_config`;
      }
    }
    config.app = { title: request.workspace, ...config.app };
    const asked = request.plugins ?? settings.plugins;
    const plugins = asked.filter((plugin) => settings.plugins.includes(plugin));
    const notices = asked
      .filter((plugin) => !settings.plugins.includes(plugin))
      .map((plugin) => `plugin ${plugin} is not part of tier ${request.tier} and was left out`)
      .slice(0, 20);
    return { appConfig: JSON.stringify(config), plugins, notices, extra: [] };
  },
};
