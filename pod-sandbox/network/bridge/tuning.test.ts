import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import {
  differencesOfTuning,
  forgetSettings,
  isTuning,
  isValidTuning,
  keepSettings,
  refusedSysctl,
  tuneRequest,
  tuningOf,
} from './tuning.ts';

const pod = { netns: '/run/netns/x', interfaceName: 'eth0' };
const SYSCTL = { 'net.ipv4.conf.IFNAME.rp_filter': '2', 'net.core.somaxconn': '500' };
const plugin = (keys: object) => ({ type: 'tuning', ...keys });

function request(keys: object, capabilities: Readonly<Record<string, unknown>> = {}) {
  assert.ok(isTuning(plugin(keys)), JSON.stringify(keys));
  const tuning = tuningOf(plugin(keys));
  assert.ok(tuning);
  return tuneRequest(tuning, pod, capabilities);
}

async function scratch(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-tuning-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

test('the settings of the configuration, its args before the pod’s own and these before its keys', () => {
  const nothing = {
    ...pod,
    sysctls: [],
    mac: undefined,
    mtu: undefined,
    promiscuous: false,
    allMulticast: undefined,
  };
  for (const keys of [{}, { mac: '', mtu: 0, promisc: false }, { args: { cni: {} } }, { sysctl: {} }])
    assert.deepEqual(request(keys), nothing, JSON.stringify(keys));
  assert.deepEqual(request({ sysctl: SYSCTL }).sysctls, [
    { key: 'ipv4/conf/eth0/rp_filter', value: '2' },
    { key: 'core/somaxconn', value: '500' },
  ]);
  const mac = '02:00:00:00:00:01';
  const all = { mac, mtu: 1400, promisc: true, allmulti: false };
  assert.deepEqual(request(all), {
    ...nothing,
    mac,
    mtu: 1400,
    promiscuous: true,
    allMulticast: false,
  });
  const cni = { mac: '', mtu: 0, promisc: false, allmulti: true, sysctl: { 'net.core.somaxconn': '600' } };
  assert.deepEqual(request({ ...all, sysctl: SYSCTL, args: { cni } }), {
    ...nothing,
    sysctls: [
      { key: 'ipv4/conf/eth0/rp_filter', value: '2' },
      { key: 'core/somaxconn', value: '600' },
    ],
    allMulticast: true,
  });
  const own = { mac: '0A:00:00:00:00:02' };
  const declared = { mac, capabilities: { mac: true } };
  assert.equal(request(declared, own).mac, own.mac);
  assert.equal(request(declared).mac, mac);
  assert.equal(request({ mac }, own).mac, mac, 'it is not declared');
  assert.equal(request({ ...declared, args: { cni: { mac: '' } } }, own).mac, undefined);
  const tuning = tuningOf(plugin(declared));
  assert.deepEqual(
    [isValidTuning(tuning, own), isValidTuning(tuning, { mac: '0a00.0000.0002' })],
    [true, false],
  );
});

test('what is not known exactly is left to the plugin', () => {
  for (const keys of [
    { txQLen: 500 },
    { description: 'x' },
    { mac: '00-00-5e-00-53-01' },
    { mtu: -1 },
    { mtu: 100 },
    { mtu: '1400' },
    { promisc: 1 },
    { allmulti: null },
    { dataDir: 'relative' },
    { sysctl: { 'kernel.shm_rmid_forced': '1' } },
    { sysctl: { 'net/core/somaxconn': '1' } },
    { sysctl: { 'net..core': '1' } },
    { sysctl: { 'net.core.somaxconn': 1 } },
    { sysctl: { 'net.core.somaxconn': '' } },
    { sysctl: { 'net.core.somaxconn': '1\n2' } },
    { capabilities: { mac: true, portMappings: true } },
    { args: { cni: { txQLen: 1 } } },
    { args: { cni: {}, labels: [] } },
    { args: { cni: { sysctl: { 'net.core.somaxconn': '1' } } } }, // the plugin crashes
  ])
    assert.equal(isTuning(plugin(keys)), false, JSON.stringify(keys));
});

const { signal } = new AbortController();

test('the file has what the link had of the settings that change, in the plugin’s form', async (t) => {
  const dataDir = join(await scratch(t), 'a/b');
  const owner = { id: 'ab'.repeat(32), interfaceName: 'eth0' };
  const found = { mac: '02:00:00:00:00:09', mtu: 1500, promiscuous: false, allMulticast: true };
  const keep = async (keys: object) => {
    const tuning = tuningOf(plugin({ dataDir, ...keys }));
    assert.ok(tuning);
    await keepSettings(tuning, owner, tuneRequest(tuning, pod, {}), found, signal);
    const names = await readdir(dataDir).catch(() => []);
    const texts = await Promise.all(names.map((name) => readFile(join(dataDir, name), 'utf8')));
    for (let n = 0; n < 2; n++) await forgetSettings(tuning, owner);
    assert.deepEqual(await readdir(dataDir).catch(() => []), []);
    return [names, texts];
  };
  assert.deepEqual(await keep({ sysctl: SYSCTL }), [[], []]);
  const name = `${owner.id}_eth0.json`;
  assert.deepEqual(await keep({ mtu: 1400 }), [[name], ['{\n "mtu": 1500\n}']]);
  assert.deepEqual(await keep({ mac: '02:00:00:00:00:01', mtu: 1400, promisc: true, allmulti: false }), [
    [name],
    ['{\n "mac": "02:00:00:00:00:09",\n "promisc": false,\n "mtu": 1500,\n "allmulti": true\n}'],
  ]);
  const mtu = tuningOf(plugin({ dataDir, mtu: 1400 }));
  const cut = new AbortController();
  const keeping = mtu && keepSettings(mtu, owner, tuneRequest(mtu, pod, {}), found, cut.signal);
  cut.abort();
  await assert.rejects(keeping ?? Promise.resolve(), /abort/i);
  assert.deepEqual(await readdir(dataDir), [], 'an ADD that was cut off leaves none');
  await writeFile(join(dataDir, name), '');
  await forgetSettings(tuningOf(plugin({ dataDir, sysctl: SYSCTL })), owner);
  assert.deepEqual(await readdir(dataDir), [name], 'with sysctls alone there is none of its own');
  await writeFile(join(dataDir, '../file'), '');
  await assert.rejects(keep({ mtu: 1400, dataDir: join(dataDir, '../file') }), /cannot be written/);
});

test('CHECK names each setting that is not as it was made', () => {
  const keys = { mac: '0A:00:00:00:00:02', mtu: 1400, promisc: true, allmulti: false };
  const sysctl = { ...SYSCTL, 'net.ipv4.ip_local_port_range': '20000 30000', 'net.ipv4.route.flush': '1' };
  const wanted = request({ ...keys, sysctl });
  const found = {
    mac: '0a:00:00:00:00:02',
    mtu: 1400,
    promiscuous: true,
    allMulticast: false,
    up: true,
    addresses: [],
    routes: [],
    sysctls: {
      'ipv4/conf/eth0/rp_filter': '2',
      'core/somaxconn': '500',
      'ipv4/ip_local_port_range': '20000\t30000',
      'ipv4/route/flush': undefined,
    },
  };
  assert.deepEqual(differencesOfTuning(wanted, found), []);
  assert.deepEqual(
    differencesOfTuning(wanted, { ...found, sysctls: { ...found.sysctls, 'core/somaxconn': '4096' } }),
    ['sysctl net.core.somaxconn is 4096, not 500'],
  );
  const other = { ...found, mac: '02:00:00:00:00:02', mtu: 1500, promiscuous: false, allMulticast: true };
  assert.equal(differencesOfTuning(wanted, other).length, 4);
  assert.deepEqual(differencesOfTuning(request({}), { ...other, sysctls: {} }), []);
  assert.deepEqual(
    differencesOfTuning(request({ mtu: 1500 }), { ...other, promiscuous: true, sysctls: {} }),
    [],
  );
});

test('the list of allowed sysctls: expressions that match a part; others are the plugin’s to read', async (t) => {
  const path = join(await scratch(t), 'allowlist.conf');
  const allowed = async (text: string, ...sysctls: string[]) => {
    await writeFile(path, text);
    return refusedSysctl(sysctls, path);
  };
  const key = 'net.ipv4.conf.IFNAME.arp_notify';
  assert.equal(await refusedSysctl([key], join(path, '../none')), undefined);
  assert.equal(await allowed('^net.ipv4.conf.IFNAME.[a-z_]*$\n', key), undefined);
  assert.equal(await allowed('\n  arp_notify  \n^net\\.core\\.', key, 'net.core.somaxconn'), undefined);
  assert.deepEqual(await allowed('^net.ipv6\narp_notif$', key), { key });
  assert.deepEqual(await allowed('', key), { key }, 'an empty list allows none');
  assert.equal(await allowed(''), undefined);
  for (const line of ['(?i)net', 'net.{2,3}', '[[:alpha:]]+', '[^x]', '\\pL', 'a**', '(net'])
    assert.equal(await allowed(`net\n${line}`, key), 'unknown', line);
  assert.equal(await allowed('\ufeffarp_notify', key), 'unknown');
  await assert.rejects(refusedSysctl([key], join(path, '..')), /cannot be read/);
});
