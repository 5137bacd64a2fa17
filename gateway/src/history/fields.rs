//! What differs between two objects, field by field.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Field {
    /// Where, such as `hosts[1]` or `props.rewrite.regex`; empty for the whole.
    pub path: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The fields in which two values differ. Objects are compared field by field; a list is one value.
#[must_use]
pub fn differing(before: &Value, after: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    compare("", Some(before), Some(after), &mut fields);
    fields
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, fields: &mut Vec<Field>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(added) {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&at, before.get(name), after.get(name), fields);
            }
        }
        (before, after) => {
            fields.push(Field { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_by_its_place() {
        let before = json!({"a": 1, "b": {"c": [1], "d": 2}, "e": 3});
        let after = json!({"a": 1, "b": {"c": [1, 2], "d": 2}, "f": null});
        let shown = serde_json::to_value(differing(&before, &after)).unwrap();
        assert_eq!(
            shown,
            json!([
                {"path": "b.c", "before": [1], "after": [1, 2]},
                {"path": "e", "before": 3},
                {"path": "f", "after": null},
            ])
        );
        assert!(differing(&before, &before).is_empty());
    }
}
