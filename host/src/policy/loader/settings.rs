//! Settings against the schema of the module that they are for.

use orbit_engine::World;
use serde_json::Value;

use super::{Fault, Loader, bind::Place, version::Version};
use crate::policy::schema::{self, Complaint, Misfit};

impl Loader {
    /// Checks the settings against the module's own schema.
    pub(super) fn fits(&self, world: World, version: &Version, schema: &str, place: &Place<'_>) -> Result<(), Fault> {
        let named = |why: String| {
            let reason = format!("module {} ({}): {why}", version.module, version.digest.short());
            Fault::of(world, Some(version.digest), reason)
        };
        let settings: Value = serde_json::from_str(&version.settings).unwrap_or(Value::Null);
        match schema::check(schema, &settings) {
            Ok(()) => Ok(()),
            Err(Complaint::Schema(why)) => Err(named(format!("its settings schema is no valid schema: {why}"))),
            Err(Complaint::Settings { misfits, more }) => {
                let mut told: Vec<String> = misfits.iter().map(|misfit| told(misfit, version, place)).collect();
                if more > 0 {
                    told.push(format!("and {more} more"));
                }
                Err(named(format!("its settings don't fit its schema: {}", told.join("; "))))
            }
        }
    }
}

/// `authorizer.settings.plugins[1] (line 14): 7 is not of type "string"`.
fn told(misfit: &Misfit, version: &Version, place: &Place<'_>) -> String {
    let key = |top: &str, parts: &[String]| {
        parts.iter().fold(top.to_owned(), |key, part| match part.parse::<usize>() {
            Ok(index) => format!("{key}[{index}]"),
            Err(_) => format!("{key}.{part}"),
        })
    };
    let Some(at) = &version.settings_at else {
        return format!("{}: {}", key("settings", &misfit.at), misfit.why);
    };
    let path: Vec<String> = at.iter().chain(&misfit.at).cloned().collect();
    let line = place.file.line_of(&path).map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("{}{line}: {}", key(&at[0], &path[1..]), misfit.why)
}
