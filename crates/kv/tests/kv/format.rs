//! The bytes that outlive a release: records in the engine, and commands in the log. A change here is a change
//! of `docs/state-format.md`, and of what an older data directory means.

use std::fmt::Write;

use bytes::Bytes;
use kv::*;
use storage::{Engine, Scan, View};
use types::Wire;

use crate::harness::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn the_records_of_every_space_keep_their_bytes() {
    use std::ops::Bound::Unbounded;
    let mut store = Harness::new();
    store.grant(300);
    store.put_with(PutRequest { lease: 300, ..put("a\0b", "v1") }).unwrap();
    store.put("a\0b", "v2");
    store.delete("a", "b");
    store.put_with(PutRequest { lease: 300, ..put("k", "v") }).unwrap();
    let member = Member { id: 1, name: "n".into(), peer_urls: vec!["p".into()], client_urls: vec![] };
    store.run(Command::PublishMember(member)).unwrap();
    store.compact(2).unwrap();
    let view = store.engine.view();
    let mut dump = String::new();
    for space in SPACES {
        for row in view.scan(Scan { space, low: Unbounded, high: Unbounded, descending: false }) {
            let (key, value) = row.unwrap();
            writeln!(dump, "{} {}={}", space.0, hex(&key), hex(&value)).unwrap();
        }
    }
    let expected = "\
0 6d657461=01010800000000000000010000000000000000000000000000000000000000000000050000000000000002000000000000000200000000000000020000000000000000000000
1 6b=0a0a02d80476
2 6100ff620000fffffffffffffffc=08040604007632
2 6100ff620000fffffffffffffffd=06040402d8047631
3 000000000000000200000000=00610062
3 000000000000000300000000=04610062
3 000000000000000400000000=07610062
3 000000000000000500000000=006b
4 800000000000012c=3c00000000000000
5 800000000000012c6b=
6 0000000000000000000000000000beef=0008
7 0000000000000001=0100000000000000010000006e01000000010000007000000000
";
    assert_eq!(dump, expected);
}

#[test]
fn commands_keep_their_bytes() {
    let range = RangeRequest {
        limit: 1,
        revision: -1,
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        keys_only: true,
        max_create_revision: 64,
        ..range("a", "b")
    };
    let txn = TxnRequest {
        compare: vec![compare("k", CompareResult::NotEqual, CompareTarget::Value(bytes("v")))],
        success: vec![RequestOp::Range(range), delete_op("a", "b")],
        failure: vec![RequestOp::Txn(TxnRequest::default())],
    };
    let commands = [
        (Command::Put(PutRequest { lease: 300, prev_kv: true, ..put("k", "v") }), "0109016b0176d804"),
        (Command::DeleteRange(delete("k", "")), "0201016b"),
        (Command::Txn(txn), "030103016b0004017602081d01020401610162020180010203016101620103000000"),
        (Command::Compact { revision: 64 }, "048001"),
        (Command::LeaseGrant { id: -1, ttl_seconds: 60 }, "050178"),
        (Command::LeaseRevoke { id: 1 }, "0602"),
        (
            Command::PublishMember(Member { id: 1, ..Member::default() }),
            "070100000000000000000000000000000000000000",
        ),
    ];
    for (command, expected) in commands {
        assert_eq!(hex(&command.to_bytes()), expected, "{command:?}");
        assert_eq!(Command::from_bytes(command.to_bytes()), Ok(command));
    }
}

#[test]
fn a_checkpoint_keeps_its_bytes() {
    let store = Harness::new();
    let (chunk, last): (Bytes, bool) = store.kv.checkpoint().unwrap().chunk(0).unwrap().unwrap();
    assert!(last);
    let expected = [
        "414c4b56010100000000000000000200000000040000006d6574614600000001",
        "0101000000000000000100000000000000000000000000000000000000000000",
        "000100000000000000ffffffffffffffffffffffffffffffff00000000000000",
        "000000000006100000000000000000000000000000000000beef020000000001",
        "02000000000000005da252327fda73bd030fb1dabb4bf6b7f6d86297",
    ];
    assert_eq!(hex(&chunk), expected.concat());
}
