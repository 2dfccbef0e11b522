//! A naive store: every revision is a whole map. Slow, obvious, and written from etcd's rules, not from the
//! store's code.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::*;

type Pairs = BTreeMap<Bytes, KeyValue>;

#[derive(Clone)]
pub struct Model {
    /// What each revision held; the first is revision 1.
    pub history: Vec<Pairs>,
    /// What each revision did, from revision 2 on.
    pub events: Vec<RevisionEvents>,
    pub compacted: Revision,
    pub leases: BTreeMap<LeaseId, i64>,
    pub members: BTreeMap<u64, Member>,
}

/// The state inside a command: the pairs so far and what was done to them.
struct Draft {
    begin: Revision,
    pairs: Pairs,
    events: Vec<Event>,
}

impl Model {
    pub fn new() -> Model {
        Model {
            history: vec![Pairs::new()],
            events: Vec::new(),
            compacted: -1,
            leases: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    pub fn revision(&self) -> Revision {
        self.history.len() as Revision
    }

    pub fn latest(&self) -> &Pairs {
        self.history.last().unwrap()
    }

    pub fn run(&mut self, command: &Command) -> Result<Response, KvError> {
        let mut draft = Draft { begin: self.revision(), pairs: self.latest().clone(), events: Vec::new() };
        let response = self.execute(command, &mut draft)?;
        if !draft.events.is_empty() {
            self.events.push(RevisionEvents { revision: draft.begin + 1, events: draft.events });
            self.history.push(draft.pairs);
        }
        Ok(response)
    }

    fn execute(&mut self, command: &Command, draft: &mut Draft) -> Result<Response, KvError> {
        Ok(match command {
            Command::Put(put) => {
                valid_op(&RequestOp::Put(put.clone()))?;
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(KvError::LeaseNotFound);
                }
                if (put.ignore_value || put.ignore_lease) && !draft.pairs.contains_key(&put.key) {
                    return Err(KvError::KeyNotFound);
                }
                Response::Put(draft.put(put))
            }
            Command::DeleteRange(delete) => {
                valid_op(&RequestOp::DeleteRange(delete.clone()))?;
                Response::DeleteRange(draft.delete_range(delete))
            }
            Command::Txn(txn) => {
                valid_op(&RequestOp::Txn(txn.clone()))?;
                writes_of(&txn.success)?;
                writes_of(&txn.failure)?;
                let chosen = choose(self.latest(), txn);
                self.check(&chosen)?;
                Response::Txn(self.run_txn(draft, &chosen))
            }
            Command::Compact { revision } => {
                if *revision <= self.compacted {
                    return Err(KvError::Compacted);
                }
                if *revision > self.revision() {
                    return Err(KvError::FutureRevision);
                }
                self.compacted = *revision;
                Response::Compact
            }
            Command::LeaseGrant { id, ttl_seconds } => {
                if *ttl_seconds > 9_000_000_000 {
                    return Err(KvError::LeaseTtlTooLarge);
                }
                if self.leases.contains_key(id) {
                    return Err(KvError::LeaseExists);
                }
                self.leases.insert(*id, *ttl_seconds);
                Response::LeaseGrant { id: *id, ttl_seconds: *ttl_seconds }
            }
            Command::LeaseRevoke { id } => {
                self.leases.remove(id).ok_or(KvError::LeaseNotFound)?;
                for key in attached(&draft.pairs, *id) {
                    draft.delete(&key);
                }
                Response::LeaseRevoke
            }
            Command::PublishMember(member) => {
                self.members.insert(member.id, member.clone());
                Response::PublishMember
            }
        })
    }

    /// A range of its own, outside of a transaction.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        valid_op(&RequestOp::Range(request.clone()))?;
        let revision = if request.revision <= 0 { self.revision() } else { request.revision };
        if revision > self.revision() {
            return Err(KvError::FutureRevision);
        }
        if revision < self.compacted {
            return Err(KvError::Compacted);
        }
        Ok(answer(&self.history[revision as usize - 1], request))
    }

    /// What history tells of a range from a revision that is not compacted.
    pub fn events_since(&self, key: &Bytes, end: &Bytes, from: Revision) -> Vec<RevisionEvents> {
        let mut told = self.events.clone();
        told.retain(|item| item.revision >= from);
        for item in &mut told {
            item.events.retain(|event| covers(key, end, &event.kv.key));
            if item.revision == self.compacted {
                item.events.iter_mut().for_each(|event| event.prev_kv = None);
            }
        }
        told.retain(|item| !item.events.is_empty());
        told
    }

    fn check(&self, chosen: &Chosen) -> Result<(), KvError> {
        let mut ops = Vec::new();
        chosen.flatten(&mut ops);
        for op in &ops {
            let RequestOp::Put(put) = op else { continue };
            if (put.ignore_value || put.ignore_lease) && !self.latest().contains_key(&put.key) {
                return Err(KvError::KeyNotFound);
            }
            if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                return Err(KvError::LeaseNotFound);
            }
        }
        for op in &ops {
            let RequestOp::Range(range) = op else { continue };
            if range.revision > self.revision() {
                return Err(KvError::FutureRevision);
            }
            if range.revision != 0 && range.revision < self.compacted {
                return Err(KvError::Compacted);
            }
        }
        Ok(())
    }

    fn run_txn(&self, draft: &mut Draft, chosen: &Chosen) -> TxnResponse {
        let mut responses = Vec::new();
        for step in &chosen.steps {
            let response = match step {
                Step::Txn(nested) => ResponseOp::Txn(self.run_txn(draft, nested)),
                Step::Op(RequestOp::Range(range)) => {
                    let pairs = match range.revision {
                        revision if revision > 0 && revision < draft.revision() => {
                            &self.history[revision as usize - 1]
                        }
                        _ => &draft.pairs,
                    };
                    ResponseOp::Range(draft.revision(), answer(pairs, range))
                }
                Step::Op(RequestOp::Put(put)) => {
                    let response = draft.put(put);
                    ResponseOp::Put(draft.revision(), response)
                }
                Step::Op(RequestOp::DeleteRange(delete)) => {
                    let response = draft.delete_range(delete);
                    ResponseOp::DeleteRange(draft.revision(), response)
                }
                Step::Op(RequestOp::Txn(_)) => unreachable!("chosen"),
            };
            responses.push(response);
        }
        TxnResponse { succeeded: chosen.succeeded, responses }
    }
}

impl Draft {
    fn revision(&self) -> Revision {
        self.begin + i64::from(!self.events.is_empty())
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let revision = self.begin + 1;
        let before = self.pairs.get(&put.key).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value: put.value.clone(),
            lease: put.lease,
        };
        if let Some(before) = &before {
            kv.create_revision = before.create_revision;
            kv.version = before.version + 1;
            if put.ignore_value {
                kv.value = before.value.clone();
            }
            if put.ignore_lease {
                kv.lease = before.lease;
            }
        }
        self.pairs.insert(put.key.clone(), kv.clone());
        self.events.push(Event { kind: EventKind::Put, kv, prev_kv: before.clone() });
        PutResponse { prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete_range(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let doomed: Vec<Bytes> =
            self.pairs.keys().filter(|key| covers(&delete.key, &delete.range_end, key)).cloned().collect();
        let mut prev_kvs: Vec<KeyValue> = doomed.iter().map(|key| self.delete(key)).collect();
        if !delete.prev_kv {
            prev_kvs.clear();
        }
        DeleteRangeResponse { deleted: doomed.len() as i64, prev_kvs }
    }

    fn delete(&mut self, key: &Bytes) -> KeyValue {
        let before = self.pairs.remove(key).unwrap();
        let kv = KeyValue { key: key.clone(), mod_revision: self.begin + 1, ..KeyValue::default() };
        self.events.push(Event { kind: EventKind::Delete, kv, prev_kv: Some(before.clone()) });
        before
    }
}

/// The keys attached to a lease, sorted.
pub fn attached(pairs: &Pairs, lease: LeaseId) -> Vec<Bytes> {
    pairs.values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
}

/// A transaction's chosen path.
struct Chosen {
    succeeded: bool,
    steps: Vec<Step>,
}

enum Step {
    Op(RequestOp),
    Txn(Chosen),
}

impl Chosen {
    fn flatten(&self, ops: &mut Vec<RequestOp>) {
        for step in &self.steps {
            match step {
                Step::Op(op) => ops.push(op.clone()),
                Step::Txn(nested) => nested.flatten(ops),
            }
        }
    }
}

fn choose(pairs: &Pairs, txn: &TxnRequest) -> Chosen {
    let succeeded = txn.compare.iter().all(|compare| holds(pairs, compare));
    let branch = if succeeded { &txn.success } else { &txn.failure };
    let steps = branch.iter().map(|op| match op {
        RequestOp::Txn(nested) => Step::Txn(choose(pairs, nested)),
        op => Step::Op(op.clone()),
    });
    Chosen { succeeded, steps: steps.collect() }
}

fn holds(pairs: &Pairs, compare: &Compare) -> bool {
    let mut kvs: Vec<KeyValue> =
        pairs.values().filter(|kv| covers(&compare.key, &compare.range_end, &kv.key)).cloned().collect();
    if kvs.is_empty() {
        if matches!(compare.target, CompareTarget::Value(_)) {
            return false;
        }
        kvs.push(KeyValue::default());
    }
    kvs.iter().all(|kv| {
        let order = match &compare.target {
            CompareTarget::Version(operand) => kv.version.cmp(operand),
            CompareTarget::Create(operand) => kv.create_revision.cmp(operand),
            CompareTarget::Mod(operand) => kv.mod_revision.cmp(operand),
            CompareTarget::Value(operand) => kv.value.cmp(operand),
            CompareTarget::Lease(operand) => kv.lease.cmp(operand),
        };
        match compare.result {
            CompareResult::Equal => order.is_eq(),
            CompareResult::NotEqual => order.is_ne(),
            CompareResult::Greater => order.is_gt(),
            CompareResult::Less => order.is_lt(),
        }
    })
}

fn covers(key: &[u8], end: &[u8], candidate: &[u8]) -> bool {
    match end {
        b"" => candidate == key,
        b"\0" => candidate >= key,
        _ => candidate >= key && candidate < end,
    }
}

/// etcd's steps, one after the other: fetch, prune, sort, truncate.
fn answer(pairs: &Pairs, request: &RangeRequest) -> RangeResponse {
    let mut kvs: Vec<KeyValue> =
        pairs.values().filter(|kv| covers(&request.key, &request.range_end, &kv.key)).cloned().collect();
    let count = kvs.len() as i64;
    if request.count_only {
        return RangeResponse { kvs: Vec::new(), more: false, count };
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if request.sort_order == SortOrder::None && filters == [0; 4] && request.limit > 0 {
        kvs.truncate(request.limit as usize + 1);
    }
    kvs.retain(|kv| filters[1] == 0 || kv.mod_revision <= filters[1]);
    kvs.retain(|kv| filters[0] == 0 || kv.mod_revision >= filters[0]);
    kvs.retain(|kv| filters[3] == 0 || kv.create_revision <= filters[3]);
    kvs.retain(|kv| filters[2] == 0 || kv.create_revision >= filters[2]);
    let property = |kv: &KeyValue| match request.sort_target {
        SortTarget::Key => (0, kv.key.clone()),
        SortTarget::Version => (kv.version, Bytes::new()),
        SortTarget::Create => (kv.create_revision, Bytes::new()),
        SortTarget::Mod => (kv.mod_revision, Bytes::new()),
        SortTarget::Value => (0, kv.value.clone()),
    };
    match request.sort_order {
        SortOrder::Descend => kvs.sort_by_key(|kv| std::cmp::Reverse(property(kv))),
        SortOrder::None | SortOrder::Ascend => kvs.sort_by_key(property),
    }
    let more = request.limit > 0 && kvs.len() > request.limit as usize;
    if more {
        kvs.truncate(request.limit as usize);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse { kvs, more, count }
}

/// What does not depend on the state, in etcd's order.
fn valid_op(op: &RequestOp) -> Result<(), KvError> {
    match op {
        RequestOp::Range(range) if range.key.is_empty() => Err(KvError::EmptyKey),
        RequestOp::DeleteRange(delete) if delete.key.is_empty() => Err(KvError::EmptyKey),
        RequestOp::Put(put) if put.key.is_empty() => Err(KvError::EmptyKey),
        RequestOp::Put(put) if put.ignore_value && !put.value.is_empty() => Err(KvError::ValueProvided),
        RequestOp::Put(put) if put.ignore_lease && put.lease != 0 => Err(KvError::LeaseProvided),
        RequestOp::Txn(txn) => {
            if txn.compare.iter().any(|compare| compare.key.is_empty()) {
                return Err(KvError::EmptyKey);
            }
            txn.success.iter().chain(&txn.failure).try_for_each(valid_op)
        }
        _ => Ok(()),
    }
}

enum Written {
    Put(Bytes),
    Deleted(Bytes, Bytes),
}

/// Every write that operations may do, or that two of them may not be done together.
fn writes_of(ops: &[RequestOp]) -> Result<Vec<Written>, KvError> {
    let mut all: Vec<Vec<Written>> = Vec::new();
    for op in ops {
        let writes = match op {
            RequestOp::Range(_) => Vec::new(),
            RequestOp::Put(put) => vec![Written::Put(put.key.clone())],
            RequestOp::DeleteRange(delete) => {
                vec![Written::Deleted(delete.key.clone(), delete.range_end.clone())]
            }
            RequestOp::Txn(txn) => {
                let mut writes = writes_of(&txn.success)?;
                writes.extend(writes_of(&txn.failure)?);
                writes
            }
        };
        for (one, other) in writes.iter().flat_map(|one| all.iter().flatten().map(move |other| (one, other)))
        {
            let clash = match (one, other) {
                (Written::Put(a), Written::Put(b)) => a == b,
                (Written::Put(put), Written::Deleted(key, end))
                | (Written::Deleted(key, end), Written::Put(put)) => covers(key, end, put),
                (Written::Deleted(..), Written::Deleted(..)) => false,
            };
            if clash {
                return Err(KvError::DuplicateKey);
            }
        }
        all.push(writes);
    }
    Ok(all.into_iter().flatten().collect())
}
