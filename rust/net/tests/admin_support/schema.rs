//! As much of JSON Schema 2020-12 as the published status schema uses; a full validator runs on the Python side.

use serde_json::Value;

/// Panics, naming the place, where `value` breaks `schema`.
pub fn validate(root: &Value, schema: &Value, value: &Value, place: &str) {
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                validate(root, root.pointer(pointer).unwrap(), value, place);
            }
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                assert!(
                    types.iter().any(|name| is(value, name.as_str().unwrap())),
                    "{place}: {value} is no {rule}"
                );
            }
            "enum" => assert!(rule.as_array().unwrap().contains(value), "{place}: {value} is none of {rule}"),
            "minimum" => {
                assert!(
                    value.is_null() || value.as_f64() >= rule.as_f64(),
                    "{place}: {value} is below {rule}"
                );
            }
            "maxItems" => {
                assert!(value.as_array().unwrap().len() as u64 <= rule.as_u64().unwrap(), "{place}");
            }
            "maxProperties" => {
                assert!(value.as_object().unwrap().len() as u64 <= rule.as_u64().unwrap(), "{place}");
            }
            // Of an object; null may stand in its place.
            "required" if value.is_null() => {}
            "required" => {
                for name in rule.as_array().unwrap() {
                    assert!(value.get(name.as_str().unwrap()).is_some(), "{place}: no {name}");
                }
            }
            "items" => {
                for (number, item) in value.as_array().unwrap().iter().enumerate() {
                    validate(root, rule, item, &format!("{place}/{number}"));
                }
            }
            "propertyNames" => {
                for name in value.as_object().unwrap().keys() {
                    validate(root, rule, &Value::String(name.clone()), place);
                }
            }
            // Applied to each member below.
            "properties" | "additionalProperties" | "patternProperties" |
            // Says nothing about the value.
            "$schema" | "$id" | "$defs" | "title" | "description" => {}
            _ => panic!("{place}: the schema uses {word}, which this reader does not know"),
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        let patterned = schema.get("patternProperties").and_then(Value::as_object).and_then(|patterns| {
            // The one pattern in use.
            let rule = patterns.get("^([0-9]{1,5}|other)$").unwrap();
            let is_code = (1..=5).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit());
            (is_code || name == "other").then_some(rule)
        });
        match schema
            .pointer(&format!("/properties/{name}"))
            .or(patterned)
            .or(schema.get("additionalProperties"))
        {
            Some(Value::Bool(allowed)) => assert!(allowed, "{place} is not in the schema"),
            Some(rule) => validate(root, rule, member, &place),
            None => {}
        }
    }
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        _ => panic!("{name}"),
    }
}
