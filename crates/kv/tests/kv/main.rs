//! The store as its users see it: entries in, answers, events and reads out. One module a subject; statements
//! of etcd's behaviour are quoted from `etcd-api.md` §4.3 to §4.6.

mod apply;
mod compaction;
mod harness;
mod lease;
mod model;
mod model_test;
mod put;
mod range;
mod revisions;
mod txn;
mod watch;
