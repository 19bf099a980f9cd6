//! What a Cedar text can speak of, as a Cedar schema.

use std::{collections::BTreeMap, fmt::Write};

use cedar_policy_core::{extensions::Extensions, validator::ValidatorSchema};
use serde::{Deserialize, Serialize};

/// Methods that only read; everything else is a write.
pub const READS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// Methods that write and have an action of their own.
pub const WRITES: [&str; 4] = ["POST", "PUT", "PATCH", "DELETE"];
/// Any other method.
pub const OTHER: &str = "other";

/// Type of a claim that a text may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A text.
    String,
    /// A whole number.
    Long,
    /// True or false.
    Bool,
    /// A list of texts.
    #[serde(rename = "Set<String>")]
    Strings,
}

impl Kind {
    fn cedar(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Long => "Long",
            Self::Bool => "Bool",
            Self::Strings => "Set<String>",
        }
    }
}

/// The schema with these claims as attributes of `User` and these headers in `context.headers`; all of them may be missing.
pub fn of(claims: &BTreeMap<String, Kind>, headers: &[String]) -> Result<ValidatorSchema, String> {
    let mut text = String::from(
        "entity Group, Role, Tier;\nentity Workspace in [Tier];\nentity Plugin in [Workspace];\nentity User in [Group, Role] {",
    );
    for (name, kind) in claims {
        let _ = write!(text, "{:?}?: {},", plain(name, "claims")?, kind.cedar());
    }
    text.push_str("};\naction \"read\", \"write\";\n");
    let mut fields = String::new();
    for name in headers {
        let _ = write!(fields, "{:?}?: String,", plain(name, "headers")?);
    }
    for (group, methods) in [("read", READS.as_slice()), ("write", WRITES.as_slice()), ("write", &[OTHER])] {
        let methods = methods.iter().map(|method| format!("{method:?}")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "action {methods} in [\"{group}\"] appliesTo {{ principal: User, resource: Plugin, context: {{ path: String, query: String, headers: {{ {fields} }} }} }};"
        );
    }
    let (schema, _) = ValidatorSchema::from_cedarschema_str(&text, Extensions::none())
        .map_err(|error| format!("the schema of the request: {error}"))?;
    Ok(schema)
}

/// A name that can stand between quotes as it is.
fn plain<'a>(name: &'a str, setting: &str) -> Result<&'a str, String> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        Ok(name)
    } else {
        Err(format!("{setting} names {name:?}, which is no plain name"))
    }
}
