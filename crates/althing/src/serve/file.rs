//! Configuration files as etcd's: YAML, of which JSON is a part; the keys are the flags' names.
//!
//! etcd groups its certificates under `client-transport-security` and `peer-transport-security`; those are
//! flattened to the flags they stand for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::flags::{self, FLAGS};
use crate::failure::Failure;

/// A file larger than this is not a configuration, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the file: flag name to value. A key without a value counts as absent.
///
/// # Errors
/// It cannot be read, is not YAML, or has a key that is no flag.
pub fn read(path: &str) -> Result<BTreeMap<&'static str, String>, Failure> {
    let wrong = |what: String| {
        Failure::new(format_args!("configuration file {path}: {what}")).next("althing serve --help")
    };
    let metadata = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("{} bytes, more than {FILE_BYTES_MAX}", metadata.len())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

pub(super) fn parse(text: &str) -> Result<BTreeMap<&'static str, String>, String> {
    let file: BTreeMap<String, Value> = match serde_saphyr::from_str(text) {
        Ok(file) => file,
        Err(error) => return Err(format!("not YAML or JSON: {error}")),
    };
    let mut values = BTreeMap::new();
    for (key, value) in file {
        match (key.as_str(), value) {
            ("client-transport-security", Value::Map(inner)) => flatten("", inner, &mut values)?,
            ("peer-transport-security", Value::Map(inner)) => flatten("peer-", inner, &mut values)?,
            ("client-transport-security" | "peer-transport-security", Value::Absent) => {}
            (_, value) => insert(&key, value, &mut values)?,
        }
    }
    Ok(values)
}

fn flatten(
    prefix: &str,
    inner: BTreeMap<String, Value>,
    values: &mut BTreeMap<&'static str, String>,
) -> Result<(), String> {
    for (key, value) in inner {
        insert(&format!("{prefix}{key}"), value, values)?;
    }
    Ok(())
}

fn insert(key: &str, value: Value, values: &mut BTreeMap<&'static str, String>) -> Result<(), String> {
    let Some(flag) = flags::find(key) else { return Err(unknown(key)) };
    match value {
        Value::Absent => {}
        Value::Text(text) => {
            values.insert(flag.name, text);
        }
        Value::Map(_) => return Err(format!("{key} is a mapping, not a value")),
    }
    Ok(())
}

fn unknown(key: &str) -> String {
    let nearest = FLAGS.iter().max_by_key(|flag| (strsim::jaro(flag.name, key) * 1000.0) as u32);
    match nearest.filter(|flag| strsim::jaro(flag.name, key) > 0.8) {
        Some(flag) => format!("unknown key {key}; did you mean {}?", flag.name),
        None => format!("unknown key {key}"),
    }
}

/// A value of the file. Lists of texts are joined with commas, as the flags take them.
enum Value {
    Absent,
    Text(String),
    Map(BTreeMap<String, Value>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false or a list of texts")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Absent)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Absent)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = items.next_element::<Value>()? {
            match item {
                Value::Text(text) => texts.push(text),
                Value::Absent => {}
                Value::Map(_) => return Err(serde::de::Error::custom("a mapping inside a list")),
            }
        }
        Ok(Value::Text(texts.join(",")))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry()? {
            map.insert(key, value);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_mean_the_same() {
        let yaml = parse("name: s1\nsnapshot-count: 5000\npre-vote: true\nwal-dir:\n").unwrap();
        let json =
            parse(r#"{"name": "s1", "snapshot-count": 5000, "pre-vote": true, "wal-dir": null}"#).unwrap();
        assert_eq!(yaml, json);
        assert_eq!(yaml["snapshot-count"], "5000");
        assert!(!yaml.contains_key("wal-dir"));
    }

    #[test]
    fn groups_and_lists_are_flattened_to_flags() {
        let file = "log-outputs: [stderr]\npeer-transport-security:\n  cert-file: /c\n  auto-tls: false\n";
        let values = parse(file).unwrap();
        assert_eq!(values["log-outputs"], "stderr");
        assert_eq!(values["peer-cert-file"], "/c");
        assert_eq!(values["peer-auto-tls"], "false");
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest() {
        assert_eq!(parse("data_dir: x").unwrap_err(), "unknown key data_dir; did you mean data-dir?");
        assert_eq!(parse("zzz: x").unwrap_err(), "unknown key zzz");
    }

    #[test]
    fn what_is_not_yaml_is_refused_without_a_panic() {
        assert!(parse("- a\n- b").unwrap_err().starts_with("not YAML"));
        assert!(parse("{").is_err());
    }
}
