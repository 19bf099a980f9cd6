// The JSON schema of this policy's settings. A module rather than a .json file, so that no bundler is needed.
export default {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  required: ["plugins"],
  properties: {
    plugins: {
      description: "Plugins that are forwarded.",
      type: "array",
      minItems: 1,
      items: { type: "string", pattern: "^[a-z][a-z0-9-]*$" },
    },
    maintenance: {
      description: "Plugin and the sentence that its callers read meanwhile.",
      type: "object",
      additionalProperties: { type: "string", maxLength: 500 },
      default: {},
    },
    writes_only: {
      description: "Maintenance refuses only POST, PUT, PATCH and DELETE; reads go on.",
      type: "boolean",
      default: true,
    },
  },
};
