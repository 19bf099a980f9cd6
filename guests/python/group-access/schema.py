"""The JSON schema of this policy's settings."""

GROUPS = {"type": "array", "items": {"type": "string"}}

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "members": {
            "description": "Groups of which a caller needs one; empty lets every member of the workspace in.",
            "default": [],
            **GROUPS,
        },
        "plugins": {
            "description": "Plugin and the groups of which a caller needs one.",
            "type": "object",
            "additionalProperties": GROUPS,
            "default": {},
        },
        "reason": {
            "description": "What a caller reads whom a plugin is closed to; {plugin}, {groups} and {workspace} are filled in.",
            "type": "string",
            "maxLength": 400,
            "default": "plugin {plugin} is for {groups}",
        },
    },
}
