"""The JSON schema of this policy's settings."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["plugins"],
    "properties": {
        "plugins": {
            "description": "Plugins that a workspace may choose from, and gets without a choice.",
            "type": "array",
            "items": {"type": "string"},
        },
        "allowed_keys": {
            "description": "Top-level keys of app-config that a workspace may set.",
            "type": "array",
            "items": {"type": "string"},
            "default": ["app", "organization", "catalog"],
        },
    },
}
