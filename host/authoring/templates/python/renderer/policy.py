"""{{name}}: a renderer. It makes a workspace's app-config from what the workspace asks for and what its tier allows.

Each call runs in a fresh copy of this module as it was after its import at build time. There is no clock, no file and no
network: a call that asks for one ends it.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.exports.rendering import Rendered, Request
from wit_world.imports.types import Configured, Description

from schema import SCHEMA


class Rendering(wit_world.exports.Rendering):
    """`orbit:policy/rendering`."""

    def describe(self) -> Description:
        # A renderer gets everything, so it names no inputs.
        return Description(name="{{name}}", version="0.1.0", inputs=[], settings_schema=json.dumps(SCHEMA))

    def configure(self, settings: str) -> Configured:
        """Once, at load. A raised `Err` says in one sentence what the operator must change."""
        given = json.loads(settings)
        for key in given:
            if key not in SCHEMA["properties"]:
                raise Err(f"unknown setting {key}")
        plugins = given.get("plugins")
        if not isinstance(plugins, list):
            raise Err("plugins must be a list of plugins")
        allowed = given.get("allowed_keys", SCHEMA["properties"]["allowed_keys"]["default"])
        return Configured(settings=json.dumps({"plugins": plugins, "allowed_keys": allowed}).encode(), inputs=[])

    def render(self, settings: bytes, request: Request) -> Rendered:
        """Whenever the workspace's config, this module or its settings change. A raised `Err` is for the workspace's operator:
        the last good revision keeps serving."""
        prepared = json.loads(settings)
        config = json.loads(request.app_config)
        for key in config:
            if key not in prepared["allowed_keys"]:
                raise Err(f"{key} may not be set in tier {request.tier}: take it out of app_config")
        config.setdefault("app", {}).setdefault("title", request.workspace)
        asked = prepared["plugins"] if request.plugins is None else request.plugins
        plugins = [plugin for plugin in asked if plugin in prepared["plugins"]]
        notices = [
            f"plugin {plugin} is not part of tier {request.tier} and was left out"
            for plugin in asked
            if plugin not in plugins
        ]
        return Rendered(app_config=json.dumps(config), plugins=plugins, notices=notices[:20], extra=[])
