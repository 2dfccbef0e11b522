//! How pairs and events look, to people and to machines.

use serde_json::{Value, json};

use super::proto::{mvccpb, pb};
use crate::output::{faint, json_bytes, readable, table};

/// A pair as JSON.
pub fn pair(kv: &mvccpb::KeyValue) -> Value {
    let mut value = json!({
        "key": json_bytes(&kv.key),
        "value": json_bytes(&kv.value),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
        "version": kv.version,
    });
    if kv.lease != 0 {
        value["lease"] = lease_id(kv.lease).into();
    }
    value
}

/// A range's answer as JSON.
pub fn range(response: &pb::RangeResponse) -> Value {
    json!({
        "revision": revision(response.header.as_ref()),
        "count": response.count,
        "more": response.more,
        "kvs": response.kvs.iter().map(pair).collect::<Vec<_>>(),
    })
}

/// Pairs as a table.
pub fn pairs(kvs: &[mvccpb::KeyValue], keys_only: bool) -> String {
    if keys_only {
        return kvs.iter().map(|kv| readable(&kv.key)).collect::<Vec<_>>().join("\n");
    }
    let mut rows = table(&["key", "value", "revision", "version", "lease"]);
    for kv in kvs {
        let lease = if kv.lease == 0 { String::new() } else { lease_id(kv.lease) };
        rows.add_row([
            readable(&kv.key),
            readable(&kv.value),
            kv.mod_revision.to_string(),
            kv.version.to_string(),
            lease,
        ]);
    }
    rows.to_string()
}

/// `… 3 of 10 keys` below a table that a limit cut.
pub fn remainder(response: &pb::RangeResponse) -> Option<String> {
    let shown = response.kvs.len();
    response.more.then(|| faint(format_args!("… {shown} of {} keys", response.count)))
}

/// The revision in a header, 0 if there is none.
pub fn revision(header: Option<&pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

/// A lease's id as etcdctl writes it: hexadecimal behind its sign, so that ids can be carried from one tool to the
/// other.
pub fn lease_id(id: i64) -> String {
    let sign = if id < 0 { "-" } else { "" };
    format!("{sign}{:x}", id.unsigned_abs())
}

/// Reads a lease's id as `lease_id` writes it.
pub fn parse_lease_id(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match i64::from_str_radix(digits, 16) {
        Ok(id) if id != 0 => Ok(id),
        _ => Err(format!("{text:?} is not a lease id, as `althing lease list` prints them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_as_it_was_shown() {
        for (id, shown) in [(0x1f, "1f"), (-5, "-5"), (i64::MIN, "-8000000000000000")] {
            assert_eq!(lease_id(id), shown);
            assert_eq!(parse_lease_id(shown), Ok(id));
        }
        assert!(parse_lease_id("0").is_err() && parse_lease_id("x").is_err());
    }
}
