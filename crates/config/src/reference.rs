//! The JSON schema, and the reference page made from it.

/// x
pub fn json_schema() -> serde_json::Value {
    serde_json::Value::from(schemars::schema_for!(crate::Config))
}
/// x
pub fn reference_markdown() -> String {
    String::new()
}
