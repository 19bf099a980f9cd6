'use strict';
// Two schemas that are the same in every start, and that Backstage compiles in every start, the first of them once per plugin: more
// than half of a start's processor time. Here they are compiled once per process; after a rehearsal they are there already.
const path = require('node:path');
const { createBackendModule } = require('@backstage/backend-plugin-api');
const { configSchemaExtensionPoint, loadCompiledConfigSchema } = require('@backstage/plugin-app-node');

/**
 * The schema of OpenAPI, against which each plugin's router checks its own description. To be called before a router is made; where the
 * validator looks otherwise than known, nothing is changed.
 */
function shareApiSchema() {
  let validators;
  try {
    validators = require('express-openapi-validator/dist/framework/openapi.schema.validator');
  } catch {
    return;
  }
  const { OpenAPISchemaValidator } = validators;
  if (typeof OpenAPISchemaValidator !== 'function') return;
  const compiled = new Map(); // by everything that the constructor looks at; a handful
  validators.OpenAPISchemaValidator = class {
    constructor(options) {
      const key = JSON.stringify(options);
      if (!compiled.has(key)) compiled.set(key, new OpenAPISchemaValidator(options));
      return compiled.get(key);
    }
  };
}

let compiledAppSchema; // a promise; of nothing where it can't be loaded: the app plugin then tries itself, and says why

/** A module of the app plugin: what of the configuration a browser may see, as the app's packages declared when it was built. */
function appSchema(root) {
  return createBackendModule({
    pluginId: 'app',
    moduleId: 'orbit-schema',
    register(env) {
      env.registerInit({
        deps: { app: configSchemaExtensionPoint },
        async init({ app }) {
          compiledAppSchema ??= loadCompiledConfigSchema(path.join(root, 'packages/app/dist')).catch(() => undefined);
          const schema = await compiledAppSchema;
          if (schema) app.setConfigSchema(schema);
        },
      });
    },
  });
}

module.exports = { appSchema, shareApiSchema };
