"""{{name}}: a router. It says which plugin a request is for, or refuses it.

Each decision runs in a fresh copy of this module as it was after its import at build time. There is no clock, no file and no
network: a call that asks for one ends the decision.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.exports.routing import Decision_Forward, Decision_Refuse, Forward, Request
from wit_world.imports.types import Configured, Description, Refusal

from schema import SCHEMA


class Routing(wit_world.exports.Routing):
    """`orbit:policy/routing`."""

    def describe(self) -> Description:
        return Description(
            name="{{name}}",
            version="0.1.0",
            # What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
            inputs=["path"],
            settings_schema=json.dumps(SCHEMA),
        )

    def configure(self, settings: str) -> Configured:
        """Once, at load. A raised `Err` says in one sentence what the operator must change."""
        given = json.loads(settings)
        for key in given:
            if key not in SCHEMA["properties"]:
                raise Err(f"unknown setting {key}")
        plugins = given.get("plugins")
        if not isinstance(plugins, list) or not plugins:
            raise Err("plugins must be a list with at least one plugin in it")
        refusal = given.get("refusal", SCHEMA["properties"]["refusal"]["default"])
        return Configured(settings=json.dumps({"plugins": plugins, "refusal": refusal}).encode(), inputs=[])

    def route(self, settings: bytes, request: Request) -> Decision_Forward | Decision_Refuse:
        """For each request, in a fresh sandbox."""
        prepared = json.loads(settings)
        _, first, *rest = request.path.split("/")
        if first != "api":
            # The browser app's own files.
            return forward("")
        plugin = rest[0] if rest else ""
        if plugin in prepared["plugins"]:
            return forward(plugin)
        reason = prepared["refusal"].replace("{plugin}", plugin).replace("{tier}", request.tier)
        return Decision_Refuse(Refusal(status=404, reason=reason))


def forward(plugin: str) -> Decision_Forward:
    return Decision_Forward(Forward(plugin=plugin, timeout_ms=0, extra=[]))
