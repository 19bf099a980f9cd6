"""An authorizer in Python: who may use a workspace, and which plugins, by the groups of a verified token.

Each decision runs in a fresh copy of this module as it was after its import at build time: what stands at the top level costs
nothing later. There is no clock, no file, no network; a call that asks for one fails the decision.
"""

import json
import re

import wit_world
from componentize_py_types import Err
from wit_world.exports.authorization import Allow, Decision_Allow, Decision_Deny, Request
from wit_world.imports.types import Configured, Description, Refusal

from schema import SCHEMA

#: A Backstage entity name, in lower case as Backstage compares it.
NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?")


class Authorization(wit_world.exports.Authorization):
    """`orbit:policy/authorization`."""

    def describe(self) -> Description:
        return Description(
            name="group-access",
            version="1.0.0",
            # What a decision depends on: the host passes nothing else, and may remember a decision by exactly these.
            inputs=["claim:sub", "claim:groups", "claim:workspaces"],
            settings_schema=json.dumps(SCHEMA),
        )

    def configure(self, settings: str) -> Configured:
        # A raised `Err` says in one sentence what the operator must change.
        given = json.loads(settings)
        for key in given:
            if key not in SCHEMA["properties"]:
                raise Err(f"unknown setting {key}; there are {', '.join(SCHEMA['properties'])}")
        plugins = given.get("plugins", {})
        if not isinstance(plugins, dict) or not all(is_texts(groups) for groups in plugins.values()):
            raise Err("plugins must be a table of plugin names and lists of groups")
        members = given.get("members", [])
        if not is_texts(members):
            raise Err("members must be a list of groups")
        reason = given.get("reason", "plugin {plugin} is for {groups}")
        try:
            reason.format(plugin="", groups="", workspace="")
        except (AttributeError, KeyError, IndexError, ValueError) as error:
            raise Err(f"reason must be a sentence with {{plugin}}, {{groups}} or {{workspace}} in it: {error}")
        prepared = {"plugins": plugins, "members": members, "reason": reason}
        return Configured(settings=json.dumps(prepared).encode(), inputs=[])

    def authorize(self, settings: bytes, request: Request) -> Decision_Allow | Decision_Deny:
        prepared = json.loads(settings)
        claims = {pair.name: json.loads(pair.value) for pair in request.claims}
        if request.workspace not in claims.get("workspaces", []):
            return deny(f"you are not a member of workspace {request.workspace}")
        name = claims.get("sub")
        if not isinstance(name, str) or not NAME.fullmatch(name.lower()):
            return deny("the sub of your token is no name that Backstage can take")
        groups = claims.get("groups", [])
        groups = [group.lower() for group in groups if isinstance(group, str) and NAME.fullmatch(group.lower())]
        members = prepared["members"]
        if members and not set(members) & set(groups):
            return deny(f"none of your groups may use workspace {request.workspace}")
        wanted = prepared["plugins"].get(request.plugin)
        if wanted is not None and not set(wanted) & set(groups):
            return deny(prepared["reason"].format(
                plugin=request.plugin, groups=" and ".join(wanted), workspace=request.workspace))
        ownership = [f"group:default/{group}" for group in groups[:100]]
        return Decision_Allow(Allow(user=f"user:default/{name.lower()}", ownership=ownership, extra=[]))


def deny(reason: str) -> Decision_Deny:
    return Decision_Deny(Refusal(status=403, reason=reason))


def is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
