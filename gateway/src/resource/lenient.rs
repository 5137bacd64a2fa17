//! Readers for what the first gateway's JSON library made of values: an empty list is stored as
//! `{}` (and an empty object as `[]`), and a list of one host may be that host alone.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A list of texts, also written as `{}`, `null` or one text.
pub(super) fn strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) if map.is_empty() => Ok(Vec::new()),
        Value::String(one) => Ok(vec![one]),
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .map(|(i, item)| match item {
                Value::String(text) => Ok(text),
                other => Err(D::Error::custom(format!("item {i} is {other}, expected a text"))),
            })
            .collect(),
        other => Err(D::Error::custom(format!("{other} is not a list of texts"))),
    }
}

/// An object, also written as `[]` or `null`.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Map::new()),
        Value::Array(items) if items.is_empty() => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        other => Err(D::Error::custom(format!("{other} is not an object"))),
    }
}

/// A value, or its default where the store has `null`.
pub(super) fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `status`: 1 is on, anything else is off.
pub(super) fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_f64() == Some(1.0))
}
