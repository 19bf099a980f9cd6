//! Which workspaces meet a new version, and how.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, Slug},
    model::Share,
};

/// How a new version runs beside the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::policy) enum Mode {
    /// It is asked, too, but off the request's way, and decides nothing.
    Shadow,
    /// It decides for its share of the workspaces.
    Canary,
}

/// The workspaces of a tier that meet a new version: these, and a share of all.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy) struct Audience {
    pub share: Share,
    /// Sorted.
    pub workspaces: Vec<Slug>,
}

impl Audience {
    /// Whether this workspace is among them. Always the same answer for the same workspace and share.
    pub fn holds(&self, tier: &str, workspace: &str) -> bool {
        self.share == Share::ALL
            || self.workspaces.binary_search_by(|slug| slug.as_str().cmp(workspace)).is_ok()
            || self.share > Share::NONE && self.share.holds(place_of(tier, workspace))
    }
}

/// A workspace's fixed place on a circle, as an even spread of 64 bits. It depends on names alone: after a restart, on another
/// machine and for a larger share the same workspaces are in, and in a tier's router and authorizer they are the same ones, so that
/// two versions that belong together meet.
fn place_of(tier: &str, workspace: &str) -> u64 {
    let mut name = Vec::with_capacity(64);
    name.extend_from_slice(tier.as_bytes());
    name.push(0);
    name.extend_from_slice(workspace.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *Digest::of(&name).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> impl Iterator<Item = String> {
        (0..200).map(|n| format!("team-{n}"))
    }
    fn audience(percent: u32) -> Audience {
        Audience { share: Share::percent(percent), workspaces: vec!["acme".parse().expect("a slug")] }
    }

    #[test]
    fn a_share_of_200_workspaces_is_about_that_and_always_the_same() {
        for percent in [0, 10, 25, 50, 100] {
            let chosen: Vec<String> = names().filter(|name| audience(percent).holds("pro", name)).collect();
            let expected = 2 * percent as usize;
            assert!(chosen.len().abs_diff(expected) <= 15, "{percent} %: {} of 200", chosen.len());
            assert!(names().filter(|name| audience(percent).holds("pro", name)).eq(chosen.iter().cloned()), "sticky");
            assert!(chosen.iter().all(|name| audience(percent.max(60)).holds("pro", name)), "kept by a larger share");
        }
        // The first 8 bytes of SHA-256("pro\0team-7"), computed elsewhere: a change of the hash would move every workspace.
        assert_eq!(place_of("pro", "team-7"), 12_528_633_265_654_255_182);
        assert_ne!(place_of("pro", "team-7"), place_of("free", "team-7"));
    }

    #[test]
    fn a_named_workspace_is_in_without_a_share() {
        assert!(audience(0).holds("pro", "acme") && !audience(0).holds("pro", "globex"));
    }
}
