//! Makes the registry agree with a config source's listing.

use std::collections::BTreeMap;

use super::{LifecycleError, Workspaces};
use crate::{
    ids::Slug,
    model::{DesiredState, Owner, Spec, Workspace},
    source::{Listing, Rejected},
};

pub(super) async fn apply(
    workspaces: &Workspaces,
    source: &str,
    listing: Listing,
    delete_removed: bool,
) -> Result<(), LifecycleError> {
    let owner = Owner::Source(source.to_owned());
    let existing: BTreeMap<Slug, Workspace> =
        workspaces.list().await?.into_iter().map(|workspace| (workspace.slug.clone(), workspace)).collect();
    for rejected in &listing.ignored {
        tracing::debug!(source, reason = %rejected, "an entry is ignored");
    }
    let mut first_failure = None;
    let mut problems = BTreeMap::new();
    let gone: Vec<&Workspace> = existing
        .values()
        .filter(|workspace| workspace.owner == owner && !listing.workspaces.contains_key(&workspace.slug))
        .collect();
    for workspace in gone {
        keep_first(&mut first_failure, removed(workspaces, workspace, &owner, delete_removed).await);
    }
    for (slug, entry) in listing.workspaces {
        match one(workspaces, &owner, existing.get(&slug), &slug, entry).await {
            Ok(()) => {}
            Err(
                error @ (LifecycleError::NotOwner { .. } | LifecycleError::Invalid(_) | LifecycleError::Deleting(_)),
            ) => {
                problems.insert(slug, error.to_string());
            }
            Err(error) => keep_first(&mut first_failure, Err(error)),
        }
    }
    remember(workspaces, problems);
    first_failure.map_or(Ok(()), Err)
}

async fn one(
    workspaces: &Workspaces,
    owner: &Owner,
    existing: Option<&Workspace>,
    slug: &Slug,
    entry: Result<Spec, Rejected>,
) -> Result<(), LifecycleError> {
    let shared = &workspaces.shared;
    match (existing, entry) {
        (Some(workspace), _) if workspace.owner != *owner => {
            Err(LifecycleError::NotOwner { slug: slug.clone(), owner: workspace.owner.clone() })
        }
        (None, Ok(spec)) => workspaces
            .create_from(slug.clone(), Spec { restarts: 0, password_rotations: 0, pinned: None, ..spec }, owner.clone())
            .await
            .map(|_| ()),
        (None, Err(Rejected(reason))) => Err(LifecycleError::Invalid(reason)),
        (Some(workspace), Ok(spec)) => {
            // What people ask for beside the source stays.
            let wanted = |current: &mut Spec| {
                let Spec { restarts, password_rotations, pinned, .. } = *current;
                let restore = current.restore.take();
                *current = Spec { restarts, password_rotations, pinned, restore, ..spec.clone() };
            };
            let changed = workspaces.change(slug, Some(owner), wanted).await;
            let reason = match &changed {
                Err(LifecycleError::Invalid(reason)) => Some(reason.clone()),
                _ => None,
            };
            if shared.set_rejection(workspace.id, reason) {
                // The condition is made again from the render.
                shared.look_at(workspace.id);
            }
            match changed {
                Err(LifecycleError::Invalid(_)) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            }
        }
        (Some(workspace), Err(Rejected(reason))) => {
            if shared.set_rejection(workspace.id, Some(reason)) {
                shared.look_at(workspace.id);
            }
            Ok(())
        }
    }
}

/// The source does not name it any more.
async fn removed(
    workspaces: &Workspaces,
    workspace: &Workspace,
    owner: &Owner,
    delete: bool,
) -> Result<(), LifecycleError> {
    workspaces.shared.set_rejection(workspace.id, None);
    if workspace.deleting {
        return Ok(());
    }
    if delete {
        return workspaces.delete(&workspace.slug, false, owner.clone()).await.map(|_| ());
    }
    if workspace.spec.desired == DesiredState::Stopped {
        return Ok(());
    }
    let stop = |spec: &mut Spec| spec.desired = DesiredState::Stopped;
    workspaces.change(&workspace.slug, Some(owner), stop).await?;
    let text = format!("{owner} does not list it any more: it is stopped, its data is kept");
    workspaces.note(workspace.id, "SourceRemoved", text).await;
    Ok(())
}

/// Logs what is new among the problems, once.
fn remember(workspaces: &Workspaces, problems: BTreeMap<Slug, String>) {
    let mut known = workspaces.shared.problems();
    for (slug, reason) in &problems {
        if known.get(slug) != Some(reason) {
            tracing::warn!(workspace = %slug, %reason, "the source's entry can't be used");
        }
    }
    *known = problems;
}

fn keep_first(first: &mut Option<LifecycleError>, result: Result<(), LifecycleError>) {
    if let Err(error) = result {
        first.get_or_insert(error);
    }
}
