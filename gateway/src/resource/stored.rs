//! Stored objects as JSON: merging a save over what is there, so that fields this version does not
//! know, or an old panel does not send, are kept.

use serde_json::{Map, Value};

/// A saved object laid over the stored one: its fields win, the others stay.
pub fn merged(stored: Option<&Map<String, Value>>, saved: Map<String, Value>) -> Map<String, Value> {
    let mut object = stored.cloned().unwrap_or_default();
    for (name, value) in saved {
        object.insert(name, value);
    }
    object
}

/// Writes lists as lists and objects as objects where the first gateway's JSON library could not
/// tell an empty one from the other.
pub fn tidy(object: &mut Map<String, Value>) {
    for name in ["hosts", "plugins", "methods"] {
        if object.get(name).and_then(Value::as_object).is_some_and(Map::is_empty) {
            object.insert(name.into(), Value::Array(Vec::new()));
        }
    }
    if object.get("props").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        object.insert("props".into(), Value::Object(Map::new()));
    }
}
