"""The Python package etcd3 against one endpoint: put, get, txn, watch, lease, lock. Prints one line a claim."""

import sys
import threading

import etcd3

host, port = sys.argv[1].split(":")
client = etcd3.client(host=host, port=int(port), timeout=10)


def claim(text, holds):
    print(("ok   " if holds else "FAIL ") + text)
    if not holds:
        sys.exit(1)


client.delete_prefix("py/")
client.put("py/a", "1")
value, meta = client.get("py/a")
claim("put and get", value == b"1" and meta.version == 1)
client.put("py/b", "2")
claim("get_prefix", [v for v, _ in client.get_prefix("py/")] == [b"1", b"2"])
claim("get_prefix sorted", [v for v, _ in client.get_prefix("py/", sort_order="descend", sort_target="key")] == [b"2", b"1"])
claim("replace (compare and swap)", client.replace("py/a", "1", "3") and not client.replace("py/a", "1", "4"))
claim("put_if_not_exists", not client.put_if_not_exists("py/a", "x") and client.put_if_not_exists("py/c", "x"))

succeeded, responses = client.transaction(
    compare=[client.transactions.value("py/a") == "3", client.transactions.version("py/b") > 0],
    success=[client.transactions.put("py/t", "then"), client.transactions.get("py/a")],
    failure=[client.transactions.put("py/t", "else")],
)
claim("transaction, then branch", succeeded and responses[1][0][0] == b"3")
succeeded, _ = client.transaction(
    compare=[client.transactions.create("py/absent") != 0],
    success=[client.transactions.put("py/t", "then")],
    failure=[client.transactions.put("py/t", "else"), client.transactions.delete("py/b")],
)
claim("transaction, else branch", not succeeded and client.get("py/t")[0] == b"else" and client.get("py/b")[0] is None)

revision = client.get("py/a")[1].mod_revision
events, cancel = client.watch("py/a", start_revision=revision)
claim("watch from history", next(events).value == b"3")
threading.Thread(target=lambda: client.put("py/a", "5")).start()
claim("watch live", next(events).value == b"5")
client.delete("py/a")
claim("watch a delete", isinstance(next(events), etcd3.events.DeleteEvent))
cancel()
events, cancel = client.watch_prefix("py/w/")
for i in range(100):
    client.put(f"py/w/{i}", str(i))
claim("watch a prefix, in order", [next(events).value for _ in range(100)] == [str(i).encode() for i in range(100)])
cancel()

lease = client.lease(30)
client.put("py/leased", "x", lease=lease)
claim("lease: refresh", lease.refresh()[0].TTL == 30)
claim("lease: time to live and keys", 0 < lease.remaining_ttl <= 30 and list(lease.keys) == [b"py/leased"])
lease.revoke()
claim("lease: revoke deletes its keys", client.get("py/leased")[0] is None)
short = client.lease(2)
client.put("py/short", "x", lease=short)
events, cancel = client.watch("py/short")
claim("lease: expiry deletes its keys", isinstance(next(events), etcd3.events.DeleteEvent))
cancel()

order = []
with client.lock("py-lock", ttl=20) as held:
    claim("lock: held", held.is_acquired())
    other = client.lock("py-lock", ttl=20)
    claim("lock: a second holder waits", not other.acquire(timeout=1))
claim("lock: free after release", client.lock("py-lock", ttl=20).acquire(timeout=5))

try:
    client.compact(10**9)
    claim("errors: future revision", False)
except Exception as error:  # the client wraps only some codes
    claim("errors: future revision", "future revision" in str(error))
claim("members", len(list(client.members)) == 3)
claim("status", client.status().version.startswith("3."))
