//! `[<binding>.next]`: a version that is rolled out beside the one that serves.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{Binding, Class, LimitSettings};
use crate::{
    ids::Slug,
    model::Share,
    policy::rollout::{Audience, Mode},
};

/// Workspaces that a canary may name one by one.
const MAX_WORKSPACES: usize = 1_000;

/// `[<binding>.next]`: a version that is rolled out. What it leaves out is as in the binding.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    module: Option<PathBuf>,
    settings: Option<toml::Table>,
    settings_files: Option<BTreeMap<String, PathBuf>>,
    signature: Option<PathBuf>,
    class: Option<Class>,
    limits: Option<LimitSettings>,
    tests: Option<PathBuf>,
    /// `shadow` or `canary`.
    pub mode: Mode,
    /// Of the tier's workspaces; a shadow without it sees all.
    share: Option<Share>,
    /// Workspaces that are in whatever the share is.
    #[serde(default)]
    workspaces: Vec<Slug>,
}

impl Next {
    /// Which workspaces meet it.
    pub fn audience(&self) -> Result<Audience, String> {
        if self.workspaces.len() > MAX_WORKSPACES {
            return Err(format!("next.workspaces names {}, {MAX_WORKSPACES} are allowed", self.workspaces.len()));
        }
        let share = match (self.share, self.mode) {
            (Some(share), _) => share,
            (None, _) if !self.workspaces.is_empty() => Share::NONE,
            (None, Mode::Shadow) => Share::ALL,
            (None, Mode::Canary) => {
                return Err(
                    "next is a canary and says of what: add share = \"10%\", or workspaces = [\"acme\"]".to_owned()
                );
            }
        };
        let mut workspaces = self.workspaces.clone();
        workspaces.sort();
        Ok(Audience { share, workspaces })
    }
}

impl Binding {
    /// Where its next version's settings stand: with it, or with the active one.
    pub fn next_has_settings(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.settings.is_some())
    }

    /// The version that is rolled out, as a binding of its own.
    pub fn next_binding(&self) -> Option<Self> {
        let next = self.next.as_ref()?;
        Some(Self {
            module: next.module.clone().unwrap_or_else(|| self.module.clone()),
            settings: next.settings.clone().unwrap_or_else(|| self.settings.clone()),
            settings_files: next.settings_files.clone().unwrap_or_else(|| self.settings_files.clone()),
            // Another module has another.
            signature: next.signature.clone().or_else(|| self.signature.clone().filter(|_| next.module.is_none())),
            signed_settings: self.signed_settings,
            class: next.class.unwrap_or(self.class),
            limits: next.limits.clone().unwrap_or_else(|| self.limits.clone()),
            memory: self.memory,
            budget: self.budget.clone(),
            tests: next.tests.clone().or_else(|| self.tests.clone()),
            next: None,
        })
    }
}
