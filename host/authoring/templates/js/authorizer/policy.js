// {{name}}: an authorizer. It says who a verified caller is to Backstage, or denies the request.
//
// Each decision runs in a fresh copy of this module as it was after its top level ran at build time.

import schema from "./settings.js";

const READS = new Set(["GET", "HEAD", "OPTIONS"]);

const deny = (reason) => ({ tag: "deny", val: { status: 403, reason } });
const allow = (user, ownership) => ({ tag: "allow", val: { user, ownership, extra: [] } });

export const authorization = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      // What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
      inputs: ["method", "claim:sub", "claim:groups", "claim:workspaces"],
      settingsSchema: JSON.stringify(schema),
    };
  },

  // Once, at load. A thrown text is for the operator: it says in one sentence what to change.
  configure(text) {
    const settings = JSON.parse(text);
    for (const key of Object.keys(settings)) {
      if (!(key in schema.properties)) throw `unknown setting ${key}`;
    }
    const { read_only_roles = schema.properties.read_only_roles.default } = settings;
    if (!Array.isArray(read_only_roles)) throw "read_only_roles must be a list of roles";
    return { settings: new TextEncoder().encode(JSON.stringify({ read_only_roles })), inputs: [] };
  },

  // For each request of a caller whose token the host has verified, in a fresh sandbox.
  authorize(bytes, request) {
    const { read_only_roles } = JSON.parse(new TextDecoder().decode(bytes));
    // Claims come as JSON text: {"acme": ["developer"]}.
    const claims = Object.fromEntries(request.claims.map(({ name, value }) => [name, JSON.parse(value)]));
    const roles = claims.workspaces?.[request.workspace];
    if (!Array.isArray(roles)) return deny(`you are not a member of workspace ${request.workspace}`);
    if (!READS.has(request.method) && roles.every((role) => read_only_roles.includes(role))) {
      return deny(`your role in workspace ${request.workspace} may only read`);
    }
    if (typeof claims.sub !== "string") return deny("your token names no user");
    return allow(`user:default/${claims.sub}`, (claims.groups ?? []).map((group) => `group:default/${group}`));
  },
};
