"""{{name}}: an authorizer. It says who a verified caller is to Backstage, or denies the request.

Each decision runs in a fresh copy of this module as it was after its import at build time. There is no clock, no file and no
network: a call that asks for one ends the decision.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.exports.authorization import Allow, Decision_Allow, Decision_Deny, Request
from wit_world.imports.types import Configured, Description, Refusal

from schema import SCHEMA


class Authorization(wit_world.exports.Authorization):
    """`orbit:policy/authorization`."""

    def describe(self) -> Description:
        return Description(
            name="{{name}}",
            version="0.1.0",
            # What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
            inputs=["method", "claim:sub", "claim:groups", "claim:workspaces"],
            settings_schema=json.dumps(SCHEMA),
        )

    def configure(self, settings: str) -> Configured:
        """Once, at load. A raised `Err` says in one sentence what the operator must change."""
        given = json.loads(settings)
        for key in given:
            if key not in SCHEMA["properties"]:
                raise Err(f"unknown setting {key}")
        roles = given.get("read_only_roles", SCHEMA["properties"]["read_only_roles"]["default"])
        if not isinstance(roles, list):
            raise Err("read_only_roles must be a list of roles")
        return Configured(settings=json.dumps({"read_only_roles": roles}).encode(), inputs=[])

    def authorize(self, settings: bytes, request: Request) -> Decision_Allow | Decision_Deny:
        """For each request of a caller whose token the host has verified, in a fresh sandbox."""
        read_only = json.loads(settings)["read_only_roles"]
        # Claims come as JSON text: {"acme": ["developer"]}.
        claims = {pair.name: json.loads(pair.value) for pair in request.claims}
        workspaces = claims.get("workspaces")
        roles = workspaces.get(request.workspace) if isinstance(workspaces, dict) else None
        if not isinstance(roles, list):
            return deny(f"you are not a member of workspace {request.workspace}")
        if request.method not in ("GET", "HEAD", "OPTIONS") and all(role in read_only for role in roles):
            return deny(f"your role in workspace {request.workspace} may only read")
        name = claims.get("sub")
        if not isinstance(name, str):
            return deny("your token names no user")
        ownership = [f"group:default/{group}" for group in claims.get("groups") or []]
        return Decision_Allow(Allow(user=f"user:default/{name}", ownership=ownership, extra=[]))


def deny(reason: str) -> Decision_Deny:
    return Decision_Deny(Refusal(status=403, reason=reason))
