//! The binary form of commands, as they stand in the log.
//!
//! A command is a tag byte and its fields. Numbers are variable-length (`varint.rs`), byte strings and lists
//! carry their length. Yes-or-no fields share a flags byte with bits that say which optional fields follow: a
//! field at its default takes no byte. Every command has exactly one form, and only that is read back; a put
//! costs four bytes besides its key and value.

use bytes::Bytes;
use types::{Reader, Wire, WireError};

use crate::validate::TXN_DEPTH_MAX;
use crate::varint::{bytes, put_bytes, put_signed, put_unsigned, signed, unsigned};
use crate::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, Member, PutRequest, RangeRequest,
    RequestOp, SortOrder, SortTarget, TxnRequest,
};

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const LEASE_GRANT: u8 = 5;
const LEASE_REVOKE: u8 = 6;
const PUBLISH_MEMBER: u8 = 7;
/// Only inside a transaction.
const RANGE: u8 = 8;

impl Wire for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Put(put) => {
                out.reserve(16 + put.key.len() + put.value.len());
                encode_put(put, out);
            }
            Command::DeleteRange(delete) => encode_delete_range(delete, out),
            Command::Txn(txn) => encode_txn(txn, out),
            Command::Compact { revision } => {
                out.push(COMPACT);
                put_signed(out, *revision);
            }
            Command::LeaseGrant { id, ttl_seconds } => {
                out.push(LEASE_GRANT);
                put_signed(out, *id);
                put_signed(out, *ttl_seconds);
            }
            Command::LeaseRevoke { id } => {
                out.push(LEASE_REVOKE);
                put_signed(out, *id);
            }
            Command::PublishMember(member) => {
                out.push(PUBLISH_MEMBER);
                member.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader) -> Result<Command, WireError> {
        Ok(match u8::decode(input)? {
            PUT => Command::Put(decode_put(input)?),
            DELETE_RANGE => Command::DeleteRange(decode_delete_range(input)?),
            TXN => Command::Txn(decode_txn(input, TXN_DEPTH_MAX)?),
            COMPACT => Command::Compact { revision: signed(input)? },
            LEASE_GRANT => Command::LeaseGrant { id: signed(input)?, ttl_seconds: signed(input)? },
            LEASE_REVOKE => Command::LeaseRevoke { id: signed(input)? },
            PUBLISH_MEMBER => Command::PublishMember(Member::decode(input)?),
            tag => return Err(WireError::Tag { what: "command", tag }),
        })
    }
}

impl Wire for Member {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.name.encode(out);
        self.peer_urls.encode(out);
        self.client_urls.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Member, WireError> {
        Ok(Member {
            id: u64::decode(input)?,
            name: String::decode(input)?,
            peer_urls: Vec::decode(input)?,
            client_urls: Vec::decode(input)?,
        })
    }
}

fn encode_put(put: &PutRequest, out: &mut Vec<u8>) {
    let lease = Field::number(put.lease);
    out.push(PUT);
    out.push(flags(&[put.prev_kv, put.ignore_value, put.ignore_lease, lease.is_there()]) as u8);
    put_bytes(out, &put.key);
    put_bytes(out, &put.value);
    lease.encode(out);
}

fn decode_put(input: &mut Reader) -> Result<PutRequest, WireError> {
    let [prev_kv, ignore_value, ignore_lease, has_lease] = unflags(u8::decode(input)?.into())?;
    Ok(PutRequest {
        key: bytes(input)?,
        value: bytes(input)?,
        lease: number_if(has_lease, input)?,
        prev_kv,
        ignore_value,
        ignore_lease,
    })
}

fn encode_delete_range(delete: &DeleteRangeRequest, out: &mut Vec<u8>) {
    let end = Field::Bytes(&delete.range_end);
    out.push(DELETE_RANGE);
    out.push(flags(&[delete.prev_kv, end.is_there()]) as u8);
    put_bytes(out, &delete.key);
    end.encode(out);
}

fn decode_delete_range(input: &mut Reader) -> Result<DeleteRangeRequest, WireError> {
    let [prev_kv, has_end] = unflags(u8::decode(input)?.into())?;
    Ok(DeleteRangeRequest { key: bytes(input)?, range_end: bytes_if(has_end, input)?, prev_kv })
}

fn encode_range(range: &RangeRequest, out: &mut Vec<u8>) {
    let end = Field::Bytes(&range.range_end);
    let numbers = [
        range.limit,
        range.revision,
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ]
    .map(Field::number);
    let there = numbers.each_ref().map(Field::is_there);
    let yes = [range.keys_only, range.count_only, end.is_there()];
    out.push(RANGE);
    (flags(&[&yes[..], &there[..]].concat())).encode(out);
    out.push(position(&SORT_ORDERS, &range.sort_order));
    out.push(position(&SORT_TARGETS, &range.sort_target));
    put_bytes(out, &range.key);
    end.encode(out);
    numbers.iter().for_each(|number| number.encode(out));
}

fn decode_range(input: &mut Reader) -> Result<RangeRequest, WireError> {
    let [keys_only, count_only, has_end, limit, revision, min_mod, max_mod, min_create, max_create] =
        unflags(u16::decode(input)?)?;
    let sort_order = at_position(&SORT_ORDERS, "sort order", input)?;
    let sort_target = at_position(&SORT_TARGETS, "sort target", input)?;
    Ok(RangeRequest {
        key: bytes(input)?,
        range_end: bytes_if(has_end, input)?,
        limit: number_if(limit, input)?,
        revision: number_if(revision, input)?,
        sort_order,
        sort_target,
        keys_only,
        count_only,
        min_mod_revision: number_if(min_mod, input)?,
        max_mod_revision: number_if(max_mod, input)?,
        min_create_revision: number_if(min_create, input)?,
        max_create_revision: number_if(max_create, input)?,
    })
}

fn encode_txn(txn: &TxnRequest, out: &mut Vec<u8>) {
    out.push(TXN);
    put_unsigned(out, txn.compare.len() as u64);
    txn.compare.iter().for_each(|compare| encode_compare(compare, out));
    for branch in [&txn.success, &txn.failure] {
        put_unsigned(out, branch.len() as u64);
        branch.iter().for_each(|op| encode_op(op, out));
    }
}

/// `depth_max` bounds the stack that a hostile nesting can take.
fn decode_txn(input: &mut Reader, depth_max: usize) -> Result<TxnRequest, WireError> {
    let Some(depth_max) = depth_max.checked_sub(1) else {
        return Err(WireError::Range { what: "nesting of transactions" });
    };
    Ok(TxnRequest {
        compare: list(input, decode_compare)?,
        success: list(input, |input| decode_op(input, depth_max))?,
        failure: list(input, |input| decode_op(input, depth_max))?,
    })
}

fn encode_op(op: &RequestOp, out: &mut Vec<u8>) {
    match op {
        RequestOp::Range(range) => encode_range(range, out),
        RequestOp::Put(put) => encode_put(put, out),
        RequestOp::DeleteRange(delete) => encode_delete_range(delete, out),
        RequestOp::Txn(txn) => encode_txn(txn, out),
    }
}

fn decode_op(input: &mut Reader, depth_max: usize) -> Result<RequestOp, WireError> {
    Ok(match u8::decode(input)? {
        RANGE => RequestOp::Range(decode_range(input)?),
        PUT => RequestOp::Put(decode_put(input)?),
        DELETE_RANGE => RequestOp::DeleteRange(decode_delete_range(input)?),
        TXN => RequestOp::Txn(decode_txn(input, depth_max)?),
        tag => return Err(WireError::Tag { what: "operation", tag }),
    })
}

fn encode_compare(compare: &Compare, out: &mut Vec<u8>) {
    out.push(position(&COMPARE_RESULTS, &compare.result));
    put_bytes(out, &compare.key);
    put_bytes(out, &compare.range_end);
    let (tag, operand) = match &compare.target {
        CompareTarget::Version(operand) => (0, operand),
        CompareTarget::Create(operand) => (1, operand),
        CompareTarget::Mod(operand) => (2, operand),
        CompareTarget::Lease(operand) => (3, operand),
        CompareTarget::Value(value) => {
            out.push(4);
            return put_bytes(out, value);
        }
    };
    out.push(tag);
    put_signed(out, *operand);
}

fn decode_compare(input: &mut Reader) -> Result<Compare, WireError> {
    let result = at_position(&COMPARE_RESULTS, "comparison", input)?;
    let (key, range_end) = (bytes(input)?, bytes(input)?);
    let target = match u8::decode(input)? {
        0 => CompareTarget::Version(signed(input)?),
        1 => CompareTarget::Create(signed(input)?),
        2 => CompareTarget::Mod(signed(input)?),
        3 => CompareTarget::Lease(signed(input)?),
        4 => CompareTarget::Value(bytes(input)?),
        tag => return Err(WireError::Tag { what: "compare target", tag }),
    };
    Ok(Compare { key, range_end, result, target })
}

/// The order of these tables is part of the form: append only.
const SORT_ORDERS: [SortOrder; 3] = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
const SORT_TARGETS: [SortTarget; 5] =
    [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
const COMPARE_RESULTS: [CompareResult; 4] =
    [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];

fn position<T: PartialEq>(table: &[T], value: &T) -> u8 {
    table.iter().position(|item| item == value).expect("the table holds every variant") as u8
}

fn at_position<T: Copy>(table: &[T], what: &'static str, input: &mut Reader) -> Result<T, WireError> {
    let tag = u8::decode(input)?;
    table.get(usize::from(tag)).copied().ok_or(WireError::Tag { what, tag })
}

/// A field that takes no bytes at its default, 0 or empty.
enum Field<'a> {
    Number(i64),
    Bytes(&'a Bytes),
}

impl Field<'_> {
    fn number(value: i64) -> Field<'static> {
        Field::Number(value)
    }

    fn is_there(&self) -> bool {
        match self {
            Field::Number(value) => *value != 0,
            Field::Bytes(value) => !value.is_empty(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            _ if !self.is_there() => {}
            Field::Number(value) => put_signed(out, *value),
            Field::Bytes(value) => put_bytes(out, value),
        }
    }
}

fn number_if(there: bool, input: &mut Reader) -> Result<i64, WireError> {
    match there.then(|| signed(input)).transpose()? {
        Some(0) => Err(WireError::Range { what: "optional number" }),
        value => Ok(value.unwrap_or(0)),
    }
}

fn bytes_if(there: bool, input: &mut Reader) -> Result<Bytes, WireError> {
    match there.then(|| bytes(input)).transpose()? {
        Some(value) if value.is_empty() => Err(WireError::Range { what: "optional bytes" }),
        value => Ok(value.unwrap_or_default()),
    }
}

/// The first flag is the lowest bit.
fn flags(bits: &[bool]) -> u16 {
    bits.iter().rev().fold(0, |flags, bit| flags << 1 | u16::from(*bit))
}

fn unflags<const N: usize>(flags: u16) -> Result<[bool; N], WireError> {
    if flags >> N != 0 {
        return Err(WireError::Range { what: "flags" });
    }
    Ok(std::array::from_fn(|bit| flags >> bit & 1 == 1))
}

fn list<T>(
    input: &mut Reader,
    mut item: impl FnMut(&mut Reader) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = unsigned(input)?;
    let left = input.remaining() as u64;
    if count > left {
        return Err(WireError::Truncated { needed: count, left });
    }
    // Grow as items arrive: an item is larger in memory than on the wire.
    (0..count).map(|_| item(input)).collect()
}
