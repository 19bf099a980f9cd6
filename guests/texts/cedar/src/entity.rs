//! Entities of the schema by a short form of their names.

use std::sync::Arc;

use cedar_policy_core::{
    ast,
    parser::{Node, cst},
    pst::SmolStr,
};
use serde::{Deserialize, Serialize};

/// The entity types of the schema; a text that names another one is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    User,
    Group,
    Role,
    Workspace,
    Tier,
    Plugin,
    Action,
}

impl Type {
    const ALL: [Self; 7] =
        [Self::User, Self::Group, Self::Role, Self::Workspace, Self::Tier, Self::Plugin, Self::Action];

    const fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Role => "Role",
            Self::Workspace => "Workspace",
            Self::Tier => "Tier",
            Self::Plugin => "Plugin",
            Self::Action => "Action",
        }
    }

    /// The type that Cedar calls by this name.
    pub fn of(name: &ast::EntityType) -> Result<Self, String> {
        let text = name.to_string();
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| format!("there is no entity type {text}"))
    }
}

/// An entity: `Role::"developer"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uid {
    pub of: Type,
    pub id: String,
}

impl Uid {
    pub fn new(of: Type, id: impl Into<String>) -> Self {
        Self { of, id: id.into() }
    }

    pub fn from_cedar(uid: &ast::EntityUID) -> Result<Self, String> {
        Ok(Self { of: Type::of(uid.entity_type())?, id: AsRef::<str>::as_ref(uid.eid()).to_owned() })
    }
}

/// Cedar's names of the types.
pub struct Types([ast::EntityType; Type::ALL.len()]);

impl Types {
    /// Makes them.
    pub fn new() -> Result<Self, String> {
        let [a, b, c, d, e, f, g] = Type::ALL;
        Ok(Self([cedar(a)?, cedar(b)?, cedar(c)?, cedar(d)?, cedar(e)?, cedar(f)?, cedar(g)?]))
    }

    pub fn name(&self, of: Type) -> ast::EntityType {
        self.0[of as usize].clone()
    }

    pub fn uid(&self, uid: &Uid) -> ast::EntityUID {
        ast::EntityUID::from_components(self.name(uid.of), ast::Eid::new(uid.id.as_str()), None)
    }

    pub fn shared(&self, uid: &Uid) -> Arc<ast::EntityUID> {
        Arc::new(self.uid(uid))
    }
}

/// From a piece of syntax: the usual way, from a text, compiles a regular expression first, and in a fresh sandbox that costs more
/// than all the rest of a decision.
fn cedar(of: Type) -> Result<ast::EntityType, String> {
    let identifier = Node::new(Some(cst::Ident::Ident(SmolStr::new_static(of.name()))));
    let id = identifier.to_valid_ident().map_err(|error| error.to_string())?;
    let id = ast::UnreservedId::try_from(id).map_err(|error| error.to_string())?;
    Ok(ast::EntityType::from(ast::Name::unqualified_name(id)))
}
