//! What can happen: a closed list, and an open end for what one protocol alone knows.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
            /// What only one protocol knows; its name in the file is `x.` and this.
            Extension(Cow<'static, str>),
        }

        impl Kind {
            /// Every kind but the extensions, in the order in which they are documented.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            fn known_name(&self) -> Option<&'static str> {
                match self {
                    $(Kind::$variant => Some($name),)*
                    Kind::Extension(_) => None,
                }
            }

            fn of_known_name(name: &str) -> Option<Kind> {
                match name {
                    $($name => Some(Kind::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A node was created with an empty disk.
    Spawn = "spawn",
    /// A node stopped without warning; what was not durable is lost.
    Crash = "crash",
    /// A node started again from its disk.
    Restart = "restart",
    /// A node stopped running, its memory intact.
    Pause = "pause",
    /// A paused node runs again.
    Resume = "resume",
    /// A message left a node.
    Send = "send",
    /// A message was handed to a node.
    Deliver = "deliver",
    /// The network lost a message.
    Drop = "drop",
    /// The network will deliver a message once more.
    Duplicate = "dup",
    /// The network changed a message's bytes.
    Corrupt = "corrupt",
    /// A node's deadline moved.
    TimerSet = "timer_set",
    /// A node's deadline passed.
    TimerFire = "timer_fire",
    /// A node has no deadline any more.
    TimerCancel = "timer_cancel",
    /// A write was handed to the disk.
    DiskWrite = "disk_write",
    /// The disk was told to make what it holds durable.
    DiskSync = "disk_sync",
    /// The disk finished something; what it says is durable is durable.
    DiskDone = "disk_done",
    /// The disk failed, tore, lost or changed something.
    DiskFault = "disk_fault",
    /// A node changed its role: follower, candidate, leader.
    Role = "role",
    /// Part of a node's state changed; the body names the fields.
    State = "state",
    /// A slot was decided, as its proposer sees it.
    Decide = "decide",
    /// A replica learned that a slot is decided.
    Learn = "learn",
    /// A replica executed a slot.
    Apply = "apply",
    /// A client asked something.
    Invoke = "invoke",
    /// A client got its answer, or gave up.
    Return = "return",
    /// The network changed: a partition, a heal, a clog.
    Net = "net",
    /// A clock was skewed, stepped or stopped.
    Clock = "clock",
    /// A node lied.
    Byzantine = "byz",
    /// A promise was broken.
    Violation = "violation",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.known_name()) {
            (Kind::Extension(name), _) => write!(f, "x.{name}"),
            (_, name) => f.write_str(name.unwrap_or_default()),
        }
    }
}

/// A name that is no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of event is called {name:?}; extensions begin with \"x.\"")]
pub struct UnknownKind {
    /// What was found.
    pub name: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Kind, UnknownKind> {
        match name.strip_prefix("x.") {
            Some(extension) if !extension.is_empty() => Ok(Kind::Extension(Cow::Owned(extension.to_owned()))),
            _ => Kind::of_known_name(name).ok_or_else(|| UnknownKind { name: name.to_owned() }),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.known_name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_back_from_its_name() {
        let extension = Kind::Extension("block".into());
        for kind in Kind::ALL.iter().chain([&extension]) {
            assert_eq!(kind.to_string().parse().as_ref(), Ok(kind));
        }
        assert_eq!(Kind::ALL.len(), 28);
        assert!("x.".parse::<Kind>().is_err());
        assert!("sned".parse::<Kind>().is_err());
    }
}
