//! Transactions as people write them:
//!
//! ```text
//!   if   value(greeting) = hello and version(visits) > 3
//!   then put greeting "good bye"; del visits
//!   else get greeting
//! ```
//!
//! Conditions: `value version create mod lease` of a key, compared by `= != < >`; `exists(key)`, `missing(key)`.
//! Operations: `put KEY VALUE [--lease ID]`, `get KEY [END] [--prefix]`, `del KEY [END] [--prefix]`. They are
//! separated by `;` or a new line. Words may be quoted, with `\"`, `\\`, `\n` and `\t` inside.

use bytes::Bytes;

use super::proto::pb;
use super::range::prefix_bounds;
use super::show::parse_lease_id;

/// Reads a transaction.
///
/// # Errors
/// Where the text stops making sense, and what would.
pub fn parse(text: &str) -> Result<pb::TxnRequest, String> {
    let mut cursor = Cursor { text, at: 0 };
    let mut txn = pb::TxnRequest::default();
    if cursor.keyword("if") {
        txn.compare = cursor.conditions()?;
    }
    cursor.skip_separators();
    if cursor.keyword("then") {
        txn.success = cursor.operations()?;
    }
    if cursor.keyword("else") {
        txn.failure = cursor.operations()?;
    }
    cursor.skip_separators();
    if cursor.at == text.len() { Ok(txn) } else { Err(cursor.expected("if, then or else")) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// A word, and whether it was quoted: a quoted keyword is a plain word.
struct Word {
    text: String,
    quoted: bool,
}

impl Cursor<'_> {
    fn conditions(&mut self) -> Result<Vec<pb::Compare>, String> {
        let mut conditions = Vec::new();
        loop {
            self.skip_separators();
            conditions.push(self.condition()?);
            self.skip_separators();
            if self.next_is("then") || self.next_is("else") || self.at == self.text.len() {
                return Ok(conditions);
            }
            self.keyword("and");
        }
    }

    fn condition(&mut self) -> Result<pb::Compare, String> {
        let start = self.at;
        let property = self.take_while(|c| c.is_ascii_alphabetic()).to_owned();
        if !self.symbol("(") {
            self.at = start;
            return Err(self.expected("a condition, such as value(KEY) = VALUE or exists(KEY)"));
        }
        let key = self.word(|c| c == ')')?.text;
        if !self.symbol(")") {
            return Err(self.expected(") after the key"));
        }
        let key = Bytes::from(key.into_bytes());
        match property.as_str() {
            "exists" => return Ok(compare(key, pb::compare::CompareResult::Greater, version(0))),
            "missing" => return Ok(compare(key, pb::compare::CompareResult::Equal, version(0))),
            _ => {}
        }
        let result = self.operator()?;
        self.skip_spaces();
        let operand_at = self.at;
        let operand = self.word(|c| c.is_whitespace() || c == ';')?.text;
        let target = target(&property, operand).map_err(|why| {
            self.at = operand_at;
            self.expected(&why)
        })?;
        Ok(compare(key, result, target))
    }

    fn operator(&mut self) -> Result<pb::compare::CompareResult, String> {
        use pb::compare::CompareResult;
        self.skip_spaces();
        let operators = [
            ("!=", CompareResult::NotEqual),
            ("==", CompareResult::Equal),
            ("=", CompareResult::Equal),
            ("<", CompareResult::Less),
            (">", CompareResult::Greater),
        ];
        for (symbol, result) in operators {
            if self.symbol(symbol) {
                return Ok(result);
            }
        }
        Err(self.expected("=, !=, < or >"))
    }

    fn operations(&mut self) -> Result<Vec<pb::RequestOp>, String> {
        let mut operations = Vec::new();
        loop {
            self.skip_separators();
            if self.next_is("else") || self.next_is("then") || self.at == self.text.len() {
                return Ok(operations);
            }
            operations.push(self.operation()?);
        }
    }

    fn operation(&mut self) -> Result<pb::RequestOp, String> {
        let start = self.at;
        let mut words = Vec::new();
        while !self.at_end_of_operation() {
            words.push(self.word(|c| c.is_whitespace() || c == ';')?);
            self.skip_spaces();
        }
        let request = operation(&words).map_err(|why| {
            self.at = start;
            self.expected(why)
        })?;
        Ok(pb::RequestOp { request: Some(request) })
    }

    fn at_end_of_operation(&self) -> bool {
        let rest = &self.text[self.at..];
        rest.is_empty() || rest.starts_with([';', '\n']) || self.next_is("then") || self.next_is("else")
    }

    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Word, String> {
        if !self.symbol("\"") {
            let text = self.take_while(|c| !ends(c)).to_owned();
            return Ok(Word { text, quoted: false });
        }
        let start = self.at - 1;
        let mut text = String::new();
        let mut chars = self.text[self.at..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += offset + 1;
                    return Ok(Word { text, quoted: true });
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        self.at = start;
        Err(self.expected("a closing quote for this one"))
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.skip_separators();
        let found = self.next_is(keyword);
        if found {
            self.at += keyword.len();
            self.skip_spaces();
        }
        found
    }

    fn next_is(&self, keyword: &str) -> bool {
        let rest = self.text[self.at..].strip_prefix(keyword);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == ';'))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.text[self.at..].starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &str {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn skip_spaces(&mut self) {
        self.take_while(|c| c.is_whitespace() && c != '\n');
    }

    fn skip_separators(&mut self) {
        self.take_while(|c| c.is_whitespace() || c == ';');
    }

    fn expected(&self, what: &str) -> String {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let found = match self.text[self.at..].split_whitespace().next() {
            Some(word) => format!("{word:?}"),
            None => "the end".to_owned(),
        };
        format!("line {line}, column {column}: expected {what}, found {found}")
    }
}

fn compare(
    key: Bytes,
    result: pb::compare::CompareResult,
    (target, operand): (pb::compare::CompareTarget, pb::compare::TargetUnion),
) -> pb::Compare {
    pb::Compare {
        result: result.into(),
        target: target.into(),
        key,
        target_union: Some(operand),
        ..Default::default()
    }
}

fn version(version: i64) -> (pb::compare::CompareTarget, pb::compare::TargetUnion) {
    (pb::compare::CompareTarget::Version, pb::compare::TargetUnion::Version(version))
}

fn target(
    property: &str,
    operand: String,
) -> Result<(pb::compare::CompareTarget, pb::compare::TargetUnion), String> {
    use pb::compare::{CompareTarget, TargetUnion};
    let number = || operand.parse::<i64>().map_err(|_| "a number".to_owned());
    Ok(match property {
        "value" => (CompareTarget::Value, TargetUnion::Value(operand.into())),
        "version" => version(number()?),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(parse_lease_id(&operand)?)),
        _ => return Err("value, version, create, mod, lease, exists or missing before the key".to_owned()),
    })
}

fn operation(words: &[Word]) -> Result<pb::request_op::Request, &'static str> {
    use pb::request_op::Request;
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let prefix = words.last().is_some_and(|word| !word.quoted && word.text == "--prefix");
    let bounds = |keys: &[&str]| match (keys, prefix) {
        ([key, "--prefix"], true) => Some(prefix_bounds(key.as_bytes())),
        ([key], false) => Some((owned(key), Bytes::new())),
        ([key, end], false) => Some((owned(key), owned(end))),
        _ => None,
    };
    match texts[..] {
        ["put", key, value] => Ok(Request::RequestPut(pb::PutRequest {
            key: owned(key),
            value: owned(value),
            ..Default::default()
        })),
        ["put", key, value, "--lease", lease] => {
            let lease = parse_lease_id(lease).map_err(|_| "a lease id after --lease")?;
            let (key, value) = (owned(key), owned(value));
            Ok(Request::RequestPut(pb::PutRequest { key, value, lease, ..Default::default() }))
        }
        ["get", ref keys @ ..] => {
            let (key, range_end) = bounds(keys).ok_or("get KEY, get KEY END or get KEY --prefix")?;
            Ok(Request::RequestRange(pb::RangeRequest { key, range_end, ..Default::default() }))
        }
        ["del", ref keys @ ..] => {
            let (key, range_end) = bounds(keys).ok_or("del KEY, del KEY END or del KEY --prefix")?;
            Ok(Request::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, ..Default::default() }))
        }
        ["put", ..] => Err("put KEY VALUE"),
        _ => Err("put, get or del"),
    }
}

fn owned(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(ops: &[pb::RequestOp]) -> Vec<String> {
        use pb::request_op::Request;
        let show = |op: &pb::RequestOp| match op.request.as_ref().unwrap() {
            Request::RequestPut(r) => format!("put {:?} {:?} {}", r.key, r.value, r.lease),
            Request::RequestRange(r) => format!("get {:?} {:?}", r.key, r.range_end),
            Request::RequestDeleteRange(r) => format!("del {:?} {:?}", r.key, r.range_end),
            Request::RequestTxn(_) => unreachable!("the syntax has no nested transactions"),
        };
        ops.iter().map(show).collect()
    }

    #[test]
    fn one_line_and_many_lines_mean_the_same() {
        let one = "if value(a) = 1 and version(b) > 3 then put a 2; get b else get a";
        let many = "if value(a) = 1\n  version(b) > 3\nthen put a 2\n  get b\nelse\n  get a\n";
        assert_eq!(parse(one).unwrap(), parse(many).unwrap());
        let txn = parse(one).unwrap();
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(ops(&txn.success), [r#"put b"a" b"2" 0"#, r#"get b"b" b"""#]);
        assert_eq!(ops(&txn.failure), [r#"get b"a" b"""#]);
    }

    #[test]
    fn quotes_carry_spaces_and_keywords() {
        let txn = parse(r#"then put "a key" "then \"else\""; del x --prefix"#).unwrap();
        assert_eq!(ops(&txn.success), [r#"put b"a key" b"then \"else\"" 0"#, r#"del b"x" b"y""#]);
    }

    #[test]
    fn existence_is_a_version_compared_with_zero() {
        let txn = parse("if missing(k) exists(\"l m\")").unwrap();
        let result = |index: usize| txn.compare[index].result();
        assert_eq!(result(0), pb::compare::CompareResult::Equal);
        assert_eq!(result(1), pb::compare::CompareResult::Greater);
        assert_eq!(&txn.compare[1].key[..], b"l m");
    }

    #[test]
    fn errors_say_where_and_what() {
        let why = |text: &str| parse(text).unwrap_err();
        assert!(why("when x").starts_with("line 1, column 1: expected if, then or else, found \"when\""));
        assert!(why("if value(a) ~ 1").contains("column 13: expected =, !=, < or >"));
        assert!(why("if version(a) = x").contains("column 17: expected a number"));
        assert!(why("then\n put a").contains("line 2, column 2: expected put KEY VALUE"));
        assert!(why("then put a \"b").contains("a closing quote"));
        assert!(why("if colour(a) = 1").contains("exists or missing before the key"));
    }

    /// Bytes from a person never make the parser panic or loop.
    #[test]
    fn every_prefix_of_a_text_is_answered() {
        let text = "if value(ключ) = \"я\\n\" then put a b --lease 1f; get \"c\" else del d e";
        for (at, _) in text.char_indices() {
            drop(parse(&text[..at]));
        }
    }
}
