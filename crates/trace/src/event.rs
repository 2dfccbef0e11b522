//! The header and the event: every field of the file format, with its short name.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use types::{NodeId, Time};

use crate::{Kind, Value};

/// What the header's `schema` field says in traces that this crate writes and reads.
pub const SCHEMA: &str = "althing-trace/1";

/// The first line of a trace: what is needed to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`SCHEMA`]. First, so that a reader can tell from a file's first bytes what it is.
    pub schema: Cow<'static, str>,
    /// The seed of the run. Written in hexadecimal: JSON numbers above 2^53 are not safe everywhere.
    #[serde(with = "hex")]
    pub seed: u64,
    /// Which protocol ran.
    pub protocol: String,
    /// The nodes, in the order in which they are drawn; more may appear later.
    #[serde(with = "nodes")]
    pub nodes: Vec<NodeId>,
    /// Which build ran: a version or a commit.
    pub build: String,
    /// Everything else that the run depended on, by name.
    pub options: BTreeMap<String, Value>,
}

impl Header {
    /// A header of this crate's schema, without options.
    pub fn new(
        seed: u64,
        protocol: impl Into<String>,
        nodes: Vec<NodeId>,
        build: impl Into<String>,
    ) -> Header {
        Header {
            schema: Cow::Borrowed(SCHEMA),
            seed,
            protocol: protocol.into(),
            nodes,
            build: build.into(),
            options: BTreeMap::new(),
        }
    }

    /// Adds an option.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<Value>) -> Header {
        self.options.insert(name.into(), value.into());
        self
    }
}

/// An event's number in its trace, from 1; grows with time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u64);

/// One transmission. A duplicate keeps its original's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u64);

/// One operation of one client: its index in the history that `checker` judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u64);

/// One thing that happened. A line of a trace; absent fields are left out of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `i`: this event's number.
    #[serde(rename = "i")]
    pub id: EventId,
    /// `t`: when, in nanoseconds of the run's own clock, from its start.
    #[serde(rename = "t", with = "time")]
    pub at: Time,
    /// `n`: where; absent for what happens to clients, or to the world as a whole.
    #[serde(rename = "n", with = "node", default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// `l`: Lamport time: greater than that of the cause, and of every earlier event of the node.
    #[serde(rename = "l")]
    pub lamport: u64,
    /// `c`: the event that made this one happen.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventId>,
    /// `k`: what happened.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// `p`: the other node: a send's destination, a delivery's sender, the node that an operation was sent to.
    #[serde(rename = "p", with = "node", default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<NodeId>,
    /// `m`: which message.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
    /// `y`: its type: `AppendEntries`, `put`, `leader`.
    #[serde(rename = "y", default, skip_serializing_if = "str::is_empty")]
    pub name: Cow<'static, str>,
    /// `b`: the particulars.
    #[serde(rename = "b", default, skip_serializing_if = "Value::is_empty_map")]
    pub body: Value,
    /// `o`: the client operation that this serves.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
}

/// What a driver adds to an event besides when, where, why and what. Only built when recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub(crate) peer: Option<NodeId>,
    pub(crate) message: Option<MessageId>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) body: Vec<(Cow<'static, str>, Value)>,
    pub(crate) op: Option<OpId>,
}

impl Details {
    /// Nothing to add.
    pub fn none() -> Details {
        Details::default()
    }

    /// Only a type: a message's, a role, a state's name.
    pub fn named(name: impl Into<Cow<'static, str>>) -> Details {
        Details { name: name.into(), ..Details::default() }
    }

    /// The other node.
    #[must_use]
    pub fn peer(mut self, peer: NodeId) -> Details {
        self.peer = Some(peer);
        self
    }

    /// Which message.
    #[must_use]
    pub fn message(mut self, message: MessageId) -> Details {
        self.message = Some(message);
        self
    }

    /// Which client operation.
    #[must_use]
    pub fn op(mut self, op: OpId) -> Details {
        self.op = Some(op);
        self
    }

    /// Adds a field to the body.
    #[must_use]
    pub fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Details {
        self.body.push((name.into(), value.into()));
        self
    }
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:#x}"))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("a seed begins with 0x"))?;
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    }
}

mod time {
    use serde::{Deserialize, Deserializer, Serializer};
    use types::Time;

    pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.0)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        Ok(Time(u64::deserialize(deserializer)?))
    }
}

/// Nodes are hexadecimal text, as etcd prints member ids: they may be any 64-bit number.
mod node {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use types::NodeId;

    pub fn parse<E: Error>(text: &str) -> Result<NodeId, E> {
        u64::from_str_radix(text, 16)
            .map(NodeId)
            .map_err(|_| E::custom(format_args!("{text:?} is no node id")))
    }
    pub fn serialize<S: Serializer>(node: &Option<NodeId>, serializer: S) -> Result<S::Ok, S::Error> {
        match node {
            Some(node) => serializer.collect_str(node),
            None => serializer.serialize_none(),
        }
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NodeId>, D::Error> {
        parse(&String::deserialize(deserializer)?).map(Some)
    }
}

mod nodes {
    use serde::{Deserialize, Deserializer, Serializer};
    use types::NodeId;

    pub fn serialize<S: Serializer>(nodes: &[NodeId], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(nodes.iter().map(NodeId::to_string))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeId>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.iter().map(|text| super::node::parse(text)).collect()
    }
}
