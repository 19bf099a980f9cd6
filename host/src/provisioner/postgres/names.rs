//! Names of a workspace's roles and database. They go into statements that take no parameters, so nothing but lower case
//! letters, digits and `_` ever becomes one.

use std::fmt;

use crate::{ids::WorkspaceId, model::Slot};

use super::super::ProvisionCause;

/// PostgreSQL cuts longer ones, silently.
const MAX_BYTES: usize = 63;

/// The names of one workspace.
pub(super) struct Names {
    pub database: Identifier,
    pub owner: Identifier,
}

/// A checked identifier; written in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier(String);

impl Names {
    pub(super) fn of(database: &str) -> Result<Self, ProvisionCause> {
        // The logins' names are two bytes longer.
        let checked = Identifier::new(database, MAX_BYTES - 2)?;
        Ok(Self { database: checked.clone(), owner: checked })
    }

    /// Another database of the workspace, for a moment. `suffix` is two characters that no other name of ours ends in.
    pub(super) fn beside(&self, suffix: &'static str) -> Identifier {
        Identifier(format!("{}{suffix}", self.database.0))
    }

    pub(super) fn login(&self, slot: Slot) -> Identifier {
        Identifier(format!("{}_{}", self.owner.0, slot.as_str()))
    }
}

impl Identifier {
    fn new(text: &str, most: usize) -> Result<Self, ProvisionCause> {
        let good = text.len() <= most
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ProvisionCause::Failed(format!("{text:.80?} can't be a name")))
        }
    }

    /// Without quotes, for parameters.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What a role of ours carries as its comment.
pub(super) fn mark(workspace: WorkspaceId) -> String {
    format!("orbitd workspace {workspace}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_slug_s_logins_are_not_cut() {
        let longest = format!("backstage_{}_{}", "a".repeat(40), "0".repeat(8));
        let names = Names::of(&longest).expect("fits");
        assert!(names.login(Slot::B).as_str().len() <= MAX_BYTES);
        assert_eq!(names.database.to_string(), format!("\"{longest}\""));
    }

    proptest! {
        #[test]
        fn nothing_that_could_leave_its_quotes_becomes_a_name(text in ".*") {
            if let Ok(names) = Names::of(&text) {
                prop_assert!(names.database.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                prop_assert!(names.database.as_str().len() <= 61);
            }
        }

        #[test]
        fn quotes_semicolons_and_nul_are_refused(before in "[a-z]{1,5}", bad in "['\";\\\\\0 -]|--|[A-Z]|é", after in "[a-z]{0,5}") {
            let text = format!("{before}{bad}{after}");
            prop_assert!(Names::of(&text).is_err(), "{}", text);
        }
    }
}
