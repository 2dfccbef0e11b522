// The Node package etcd3 against one endpoint: put, get, txn, watch, lease, lock, election. Prints one line a claim.
const { Etcd3 } = require('etcd3');

const client = new Etcd3({ hosts: process.argv[2] });
const claim = (text, holds) => {
  console.log((holds ? 'ok   ' : 'FAIL ') + text);
  if (!holds) process.exit(1);
};
const once = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

async function main() {
  await client.delete().prefix('js/');
  await client.put('js/a').value('1');
  claim('put and get', (await client.get('js/a').string()) === '1');
  await client.put('js/b').value('2');
  claim('getAll by prefix', JSON.stringify(await client.getAll().prefix('js/').strings()) === '{"js/a":"1","js/b":"2"}');
  claim('sort and limit', (await client.getAll().prefix('js/').sort('Key', 'Descend').limit(1).keys())[0] === 'js/b');
  claim('count', (await client.getAll().prefix('js/').count()) === 2);

  const then = await client.if('js/a', 'Value', '==', '1').then(client.put('js/t').value('then')).else(client.put('js/t').value('else')).commit();
  claim('txn, then branch', then.succeeded && (await client.get('js/t').string()) === 'then');
  const otherwise = await client.if('js/none', 'Create', '!=', 0).then(client.put('js/t').value('then')).else(client.put('js/t').value('else')).commit();
  claim('txn, else branch', !otherwise.succeeded && (await client.get('js/t').string()) === 'else');
  const stm = await client.stm().transact((tx) => tx.get('js/a').string().then((value) => tx.put('js/a').value(value + '0')));
  claim('software transactional memory', (await client.get('js/a').string()) === '10' && stm !== null);

  const watcher = await client.watch().key('js/w').create();
  const put = once(watcher, 'put');
  await client.put('js/w').value('x');
  claim('watch live', (await put).value.toString() === 'x');
  const deleted = once(watcher, 'delete');
  await client.delete().key('js/w');
  claim('watch a delete', (await deleted).key.toString() === 'js/w');
  await watcher.cancel();
  const revision = (await client.put('js/h').value('old')).header.revision;
  await client.put('js/h').value('new');
  const history = client.watch().key('js/h').startRevision(revision).watcher();
  const seen = [];
  await new Promise((resolve) => history.on('put', (kv) => { seen.push(kv.value.toString()); if (seen.length === 2) resolve(); }));
  claim('watch from history', seen.join() === 'old,new');
  await history.cancel();

  const lease = client.lease(30);
  await lease.put('js/leased').value('x');
  const renewed = await lease.keepaliveOnce();
  claim('lease: keep alive', renewed.TTL === '30' || Number(renewed.TTL) === 30);
  await lease.revoke();
  claim('lease: revoke deletes its keys', (await client.get('js/leased').string()) === null);

  const lock = client.lock('js-lock').ttl(20);
  await lock.acquire();
  let refused = false;
  await client.lock('js-lock').ttl(20).acquire().catch(() => { refused = true; });
  claim('lock: a second holder is refused', refused);
  await lock.release();
  claim('lock: free after release', (await client.lock('js-lock').do(() => 'inside')) === 'inside');

  const election = client.election('js-election');
  const campaign = election.campaign('candidate');
  await once(campaign, 'elected');
  claim('election', (await election.leader()) === 'candidate');
  await campaign.resign();

  let message = '';
  await client.get('js/a').revision(1000000000).string().catch((error) => { message = error.message; });
  claim('errors: future revision', message.includes('future revision'));
  client.close();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
