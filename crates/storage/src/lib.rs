//! The durable slot-addressed log and the state engine, on a Disk trait.
