//! The head of a policy: for whom, which action and where it is.
//!
//! A decision holds the heads against its request before it unpacks a condition, so that it does not pay for policies that
//! can't apply. Those that may, Cedar evaluates whole, their heads again.

use cedar_policy_core::ast::{
    self, EntityReference, PrincipalConstraint, PrincipalOrResourceConstraint as Constraint, ResourceConstraint,
};
use serde::{Deserialize, Serialize};

use crate::entity::{Type, Types, Uid};

/// Of a policy.
#[derive(Serialize, Deserialize)]
pub struct Scope {
    principal: One,
    action: Action,
    resource: One,
}

/// `principal …` or `resource …`.
#[derive(Serialize, Deserialize)]
enum One {
    Any,
    Is(Type),
    Equals(Uid),
    In(Uid),
    IsIn(Type, Uid),
}

/// `action …`.
#[derive(Serialize, Deserialize)]
enum Action {
    Any,
    Equals(Uid),
    In(Vec<Uid>),
}

/// An entity of a request with all that it is in.
pub struct Member {
    /// The entity.
    pub uid: Uid,
    /// Directly or not.
    pub within: Vec<Uid>,
}

/// Who does what where.
pub struct Asked {
    pub principal: Member,
    pub action: Member,
    pub resource: Member,
}

impl Member {
    /// Cedar's `in`.
    fn is_in(&self, uid: &Uid) -> bool {
        self.uid == *uid || self.within.contains(uid)
    }
}

impl Scope {
    pub fn of(policy: &ast::Policy) -> Result<Self, String> {
        let action = match policy.action_constraint() {
            ast::ActionConstraint::Any => Action::Any,
            ast::ActionConstraint::Eq(uid) => Action::Equals(Uid::from_cedar(uid)?),
            ast::ActionConstraint::In(uids) => {
                Action::In(uids.iter().map(|uid| Uid::from_cedar(uid)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self {
            principal: One::of(policy.principal_constraint().as_inner())?,
            action,
            resource: One::of(policy.resource_constraint().as_inner())?,
        })
    }

    /// Whether Cedar's evaluation of the head would be true.
    pub fn holds(&self, asked: &Asked) -> bool {
        let action = match &self.action {
            Action::Any => true,
            Action::Equals(uid) => asked.action.uid == *uid,
            Action::In(uids) => uids.iter().any(|uid| asked.action.is_in(uid)),
        };
        action && self.principal.holds(&asked.principal) && self.resource.holds(&asked.resource)
    }

    pub fn principal(&self, types: &Types) -> PrincipalConstraint {
        PrincipalConstraint::new(self.principal.cedar(types))
    }

    pub fn action(&self, types: &Types) -> ast::ActionConstraint {
        match &self.action {
            Action::Any => ast::ActionConstraint::Any,
            Action::Equals(uid) => ast::ActionConstraint::Eq(types.shared(uid)),
            Action::In(uids) => ast::ActionConstraint::In(uids.iter().map(|uid| types.shared(uid)).collect()),
        }
    }

    pub fn resource(&self, types: &Types) -> ResourceConstraint {
        ResourceConstraint::new(self.resource.cedar(types))
    }
}

impl One {
    fn of(constraint: &Constraint) -> Result<Self, String> {
        Ok(match constraint {
            Constraint::Any => Self::Any,
            Constraint::Is(name) => Self::Is(Type::of(name)?),
            Constraint::Eq(uid) => Self::Equals(named(uid)?),
            Constraint::In(uid) => Self::In(named(uid)?),
            Constraint::IsIn(name, uid) => Self::IsIn(Type::of(name)?, named(uid)?),
        })
    }

    fn holds(&self, member: &Member) -> bool {
        match self {
            Self::Any => true,
            Self::Is(of) => member.uid.of == *of,
            Self::Equals(uid) => member.uid == *uid,
            Self::In(uid) => member.is_in(uid),
            Self::IsIn(of, uid) => member.uid.of == *of && member.is_in(uid),
        }
    }

    fn cedar(&self, types: &Types) -> Constraint {
        match self {
            Self::Any => Constraint::any(),
            Self::Is(of) => Constraint::is_entity_type(types.name(*of).into()),
            Self::Equals(uid) => Constraint::is_eq(types.shared(uid)),
            Self::In(uid) => Constraint::is_in(types.shared(uid)),
            Self::IsIn(of, uid) => Constraint::is_entity_type_in(types.name(*of).into(), types.shared(uid)),
        }
    }
}

fn named(reference: &EntityReference) -> Result<Uid, String> {
    match reference {
        EntityReference::EUID(uid) => Uid::from_cedar(uid),
        EntityReference::Slot(_) => Err("a slot of a template can't be packed".into()),
    }
}
