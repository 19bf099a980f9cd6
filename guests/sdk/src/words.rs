//! What is wrong with a value, for who wrote it: serde speaks of Rust's types.
//!
//! The host has this file, too, for what its own files say.

/// What `message` of serde says in plain words: `expected u16` is `expected a whole number from 0 to 65535`.
pub fn plain(message: &str) -> String {
    const EXPECTED: &str = ", expected ";
    // The last one: before it the value is quoted, and that may say anything.
    let Some(at) = message.rfind(EXPECTED).map(|at| at + EXPECTED.len()) else { return message.into() };
    let (before, wanted) = message.split_at(at);
    // Behind it may stand a place: serde_json's, or toml's on a line of its own.
    let end = wanted.find(" at line ").into_iter().chain(wanted.find('\n')).min().unwrap_or(wanted.len());
    let (wanted, after) = wanted.split_at(end);
    match words(wanted) {
        Some(words) => format!("{before}{words}{after}"),
        None => message.into(),
    }
}

fn words(wanted: &str) -> Option<String> {
    let to = |least: i64, most: u64| Some(format!("a whole number from {least} to {most}"));
    let (name, nonzero) = wanted.strip_prefix("a nonzero ").map_or((wanted, false), |name| (name, true));
    let least = i64::from(nonzero);
    match name {
        "u8" => to(least, u8::MAX.into()),
        "u16" => to(least, u16::MAX.into()),
        "u32" => to(least, u32::MAX.into()),
        // Beyond what a file's whole number can be.
        "u64" | "u128" | "usize" => Some(format!("a whole number, {least} or more")),
        _ if nonzero => None,
        "i8" => to(i8::MIN.into(), i8::MAX as u64),
        "i16" => to(i16::MIN.into(), i16::MAX as u64),
        "i32" => to(i32::MIN.into(), i32::MAX as u64),
        "i64" | "i128" | "isize" => Some("a whole number".into()),
        "f32" | "f64" => Some("a number".into()),
        "a boolean" => Some("true or false".into()),
        "a sequence" => Some("a list".into()),
        "a map" => Some("a table".into()),
        _ if name.starts_with("struct ") => Some("a table".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn no_type_of_rust_is_named() {
        for (said, told) in [
            ("expected usize", "expected a whole number, 0 or more"),
            ("expected u8", "expected a whole number from 0 to 255"),
            ("expected u32", "expected a whole number from 0 to 4294967295"),
            ("expected a nonzero u16", "expected a whole number from 1 to 65535"),
            ("expected i8", "expected a whole number from -128 to 127"),
            ("expected i64", "expected a whole number"),
            ("expected f64", "expected a number"),
            ("expected a boolean", "expected true or false"),
            ("expected a sequence", "expected a list"),
            ("expected struct LimitSettings", "expected a table"),
            ("expected a string", "expected a string"),
            ("expected u32 at line 1 column 9", "expected a whole number from 0 to 4294967295 at line 1 column 9"),
            ("expected u64\nin `limits`\n", "expected a whole number, 0 or more\nin `limits`\n"),
        ] {
            let value = "invalid type: string \"x, expected u8\", ";
            assert_eq!(plain(&format!("{value}{said}")), format!("{value}{told}"));
        }
        assert_eq!(plain("missing field `plugins`"), "missing field `plugins`");
    }
}
