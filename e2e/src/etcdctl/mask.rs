//! Replaces what legitimately differs from run to run, and nothing else.

use std::sync::LazyLock;

use regex::Regex;

/// Expressions and what they become. Each says what it is about.
const MASKS: &[(&str, &str)] = &[
    // Ids in JSON: cluster, member, leader.
    (r#""(cluster_id|member_id|ID|leader)":\d+"#, r#""$1":<id>"#),
    (r#""(raft_term|raftTerm|raftIndex|raftAppliedIndex|dbSize|dbSizeInUse)":\d+"#, r#""$1":<n>"#),
    // Ids and counters in `-w fields`.
    (r#""(ClusterID|MemberID|ID|Leader)" : \d+"#, r#""$1" : <id>"#),
    (r#""(RaftTerm|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : \d+"#, r#""$1" : <n>"#),
    (r#""(TTL|GrantedTTL)" : \d+"#, r#""$1" : <seconds>"#),
    (r#""ttl":\d+"#, r#""ttl":<seconds>"#),
    (r"remaining\(\d+s\)", "remaining(<seconds>s)"),
    // etcdctl pads a member's id with blanks.
    (r"Member +[0-9a-f]{12,16}\b", "Member <id>"),
    // Lease ids and what is named after them, member ids in tables. They are printed without leading zeros, and an id of
    // etcd's begins with sixteen random bits.
    (r"\b[0-9a-f]{12,16}\b", "<id>"),
    (r"\b\d{15,20}\b", "<id>"),
    // The server's release.
    (r"3\.5\.\d+", "3.5.x"),
    // Database sizes for people.
    (r"\b\d+(\.\d+)? ?[kM]?B\b", "<size>"),
    // Times.
    (r"took = [0-9.]+(µs|ms|s)", "took = <time>"),
    (r"[0-9.]+(µs|ms)\b", "<time>"),
    (r#""ts":("[^"]+"|[0-9.]+)"#, r#""ts":<time>"#),
    // etcdctl's own address of its resolver.
    (r"0xc[0-9a-f]+", "<pointer>"),
];

static EXPRESSIONS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let compile = |&(expression, by)| (Regex::new(expression).expect("the masks above are valid"), by);
    MASKS.iter().map(compile).collect()
});

/// Which node leads, and its counters, differ from run to run: `endpoint status` rows are cut to what does not.
static STATUS_ROW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(true|false)(,| *\|) *(true|false)(,| *\|) *\d+(,| *\|) *\d+(,| *\|) *\d+(,| *\|)")
        .expect("valid")
});

/// Masks one output.
pub fn mask(output: &str) -> String {
    let mut masked = STATUS_ROW.replace_all(output, "<leader and counters>").into_owned();
    for (expression, by) in EXPRESSIONS.iter() {
        masked = expression.replace_all(&masked, *by).into_owned();
    }
    squeeze_tables(&masked)
}

/// Table borders are as wide as the masked content was: width says nothing.
fn squeeze_tables(output: &str) -> String {
    let mut lines = String::new();
    for line in output.lines() {
        let is_table = line.starts_with('+') || line.starts_with('|');
        if is_table {
            let words: Vec<&str> = line.split([' ', '-']).filter(|word| !word.is_empty()).collect();
            lines.push_str(&words.join(" "));
        } else {
            lines.push_str(line);
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_times_and_sizes_are_masked_and_data_is_not() {
        let json = r#"{"header":{"cluster_id":15875391935852295136,"revision":2,"raft_term":2},"count":1}"#;
        assert_eq!(
            mask(json),
            "{\"header\":{\"cluster_id\":<id>,\"revision\":2,\"raft_term\":<n>},\"count\":1}\n"
        );
        assert_eq!(mask("lease 12c8a1fddba13d16 granted with TTL(5s)"), "lease <id> granted with TTL(5s)\n");
        assert_eq!(mask("office/b8a2018b69a42e"), "office/<id>\n", "an id that begins with zeros");
        assert_eq!(mask("value 12345 stays"), "value 12345 stays\n");
    }
}
