// The JSON schema of this policy's settings. A module rather than a .json file, so that no bundler is needed.
export default {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  additionalProperties: false,
  properties: {
    read_only_roles: {
      description: "Who has only these roles may only read.",
      type: "array",
      items: { type: "string" },
      default: ["viewer"],
    },
  },
};
