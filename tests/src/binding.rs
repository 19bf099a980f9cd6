//! A tier's TOML with something changed, for tests of swaps.

/// `toml` with one setting of a policy's binding changed. Bindings are tables that name their module somehow; the one whose
/// text mentions `policy` is meant.
///
/// # Panics
/// Where there is none.
pub fn with_setting(toml: &str, policy: &str, key: &str, value: &str) -> String {
    let mut table: toml::Table = toml.parse().expect("a tier's TOML");
    let value: toml::Value = format!("v = {value}").parse::<toml::Table>().expect("a value")["v"].clone();
    assert!(set_in_binding(&mut table, policy, key, &value), "no binding of {policy} in:\n{toml}");
    toml::to_string(&table).expect("written")
}

/// Finds the table that has a text value naming the policy, and sets `settings.<key>` in it.
fn set_in_binding(table: &mut toml::Table, policy: &str, key: &str, value: &toml::Value) -> bool {
    let names_it = |value: &toml::Value| value.as_str().is_some_and(|text| text.contains(policy));
    if table.values().any(names_it) {
        let settings = table.entry("settings").or_insert_with(|| toml::Value::Table(toml::Table::new()));
        settings.as_table_mut().expect("settings is a table").insert(key.to_owned(), value.clone());
        return true;
    }
    table.iter_mut().any(|(_, inner)| match inner {
        toml::Value::Table(inner) => set_in_binding(inner, policy, key, value),
        toml::Value::Array(items) => items
            .iter_mut()
            .filter_map(toml::Value::as_table_mut)
            .any(|inner| set_in_binding(inner, policy, key, value)),
        _ => false,
    })
}

/// The module's file that a tier's TOML names for a policy, relative to the policies directory.
///
/// # Panics
/// Where it names none.
pub fn module_of(toml: &str, policy: &str) -> String {
    let quoted = toml.split('"').find(|text| text.contains(policy) && text.ends_with(".wasm"));
    quoted.unwrap_or_else(|| panic!("no module of {policy} in:\n{toml}")).to_owned()
}
