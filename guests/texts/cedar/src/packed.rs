//! A policy as decisions get it.

use cedar_policy_core::ast::{Annotations, Effect, Policy, PolicyID, StaticPolicy};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{entity::Types, scope::Scope, tree::Tree};

/// Where a policy stands in its text: line and column, from 1.
pub type Place = (u32, u32);

/// One `permit` or `forbid`.
#[derive(Serialize, Deserialize)]
pub struct Packed {
    /// For what Cedar says of its evaluation.
    pub place: Place,
    effect: Effect,
    /// Its `@reason`.
    pub reason: Option<String>,
    pub scope: Scope,
    /// A packed [`Tree`], none where there is no condition: read only if the head holds.
    condition: Option<ByteBuf>,
}

impl Packed {
    /// Packs, and makes sure that what a decision will unpack is the very same policy.
    pub fn of(policy: &Policy, place: Place, types: &Types) -> Result<Self, String> {
        let condition = match policy.non_scope_constraints() {
            Some(expr) => Some(postcard::to_allocvec(&Tree::of(expr)?).map_err(|error| error.to_string())?),
            None => None,
        };
        // By its text: asking for it by name sets the parser up.
        let reason = policy.annotations().find(|(name, _)| AsRef::<str>::as_ref(*name) == "reason");
        let packed = Self {
            place,
            effect: policy.effect(),
            reason: reason.map(|(_, reason)| reason.val.as_str().to_owned()).filter(|reason| !reason.is_empty()),
            scope: Scope::of(policy)?,
            condition: condition.map(ByteBuf::from),
        };
        let unpacked = packed.cedar(types)?;
        let same = unpacked.effect() == policy.effect()
            && unpacked.principal_constraint() == policy.principal_constraint()
            && unpacked.action_constraint() == policy.action_constraint()
            && unpacked.resource_constraint() == policy.resource_constraint()
            && unpacked.non_scope_constraints() == policy.non_scope_constraints();
        if same { Ok(packed) } else { Err("it can't be packed without a change".into()) }
    }

    /// Unpacks. Nothing asks for such a policy by its id or its annotations.
    pub fn cedar(&self, types: &Types) -> Result<Policy, String> {
        let condition = match &self.condition {
            Some(bytes) => {
                let tree: Tree = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
                Some(tree.cedar(types)?)
            }
            None => None,
        };
        let (principal, action, resource) =
            (self.scope.principal(types), self.scope.action(types), self.scope.resource(types));
        let id = PolicyID::from_string("");
        StaticPolicy::new(id, None, Annotations::new(), self.effect, principal, action, resource, condition)
            .map(Policy::from)
            .map_err(|error| error.to_string())
    }
}
