"""The JSON schema of this policy's settings."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "read_only_roles": {
            "description": "Who has only these roles may only read.",
            "type": "array",
            "items": {"type": "string"},
            "default": ["viewer"],
        },
    },
}
