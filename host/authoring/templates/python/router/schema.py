"""The JSON schema of this policy's settings."""

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["plugins"],
    "properties": {
        "plugins": {
            "description": "Plugins that are forwarded.",
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
        },
        "refusal": {
            "description": "What a caller of another plugin reads; {plugin} and {tier} are filled in.",
            "type": "string",
            "default": "plugin {plugin} is not part of tier {tier}",
        },
    },
}
