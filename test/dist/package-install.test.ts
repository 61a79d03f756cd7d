/** .deb and .rpm on a node, which is a copy of this machine's root without systemd: test/node/package.test.ts has one with it. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { ARCHITECTURES } from '../../deploy/dist/architectures.ts';
import { buildPackages, onNode } from './packages.ts';

const directory = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? '/var/tmp', 'package-install-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const packages = join(directory, 'packages');
mkdirSync(packages);
const arch = ARCHITECTURES.find(({ node }) => node === process.arch);
assert.ok(arch);
const OLD = '1.0.0-rc.1';
const NEW = '1.0.0';
for (const version of [OLD, NEW]) buildPackages(packages, ['--arch', arch.node, '--version', version]);
const deb = (version: string): string => `/packages/crisp_${version.replace('-', '~')}-1_${arch.debian}.deb`;
const rpm = (version: string): string => `/packages/crisp-${version.replace('-', '~')}-1.${arch.rpm}.rpm`;
assert.ok(existsSync(join(directory, deb(NEW))));

const lines = (script: string): string[] =>
  onNode(directory, packages, script).trim().split('\n').filter(Boolean);
/** The build that the daemon would be started from, and how many there are. */
const STARTED = 'cd /usr/lib/crisp/running && readlink current && ls | wc -l && cd /';
const QUIET = '>/dev/null 2>&1';

test('a .deb is installed, upgraded and downgraded, removed and purged; nothing is left', () => {
  const output = lines(`
    dpkg -i ${deb(OLD)} ${QUIET}
    crisp version; ${STARTED}
    readlink /etc/systemd/system/multi-user.target.wants/crisp.service
    test ! -e /etc/systemd/system/sockets.target.wants/crisp.socket
    dpkg --verify crisp
    bash -c 'source /usr/share/bash-completion/completions/crisp; complete -p crisp'
    test -s /usr/share/man/man8/crisp.8.gz
    echo '# own' >>/etc/crisp/crisp.toml
    dpkg -i ${deb(NEW)} ${QUIET}
    crisp version; ${STARTED}
    dpkg -i ${deb(NEW)} ${QUIET}; ${STARTED}
    dpkg -i ${deb(OLD)} ${QUIET}; ${STARTED}
    mkdir -p /var/lib/crisp/images /etc/cni/net.d /var/lib/cni/networks/crisp-bridge
    cp /usr/share/crisp/examples/99-crisp-bridge.conflist /etc/cni/net.d/
    dpkg -r crisp ${QUIET}
    ls -d /usr/lib/crisp /usr/bin/crisp 2>/dev/null || true
    tail -n 1 /etc/crisp/crisp.toml; ls -d /var/lib/crisp/images
    dpkg -P crisp 2>&1 | grep -v '^(Reading\\|^Purging' || true
    left`);
  const build = (version: string) => new RegExp(`^${version}-[0-9a-f]{12}$`);
  const wanted = [
    ...[/^crisp 1\.0\.0-rc\.1 /, build(OLD), /^2$/],
    ...[/\/lib\/systemd\/system\/crisp\.service$/, /^complete -F _crisp crisp$/],
    ...[/^crisp 1\.0\.0 /, build(NEW), /^2$/],
    ...[build(NEW), /^2$/],
    ...[build(OLD), /^2$/],
    ...[/^# own$/, /^\/var\/lib\/crisp\/images$/],
  ];
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
});

test('an .rpm is installed, upgraded and downgraded, purged and removed; nothing is left', () => {
  const output = lines(`
    rpm() { command rpm --force-debian --nodeps "$@"; }
    rpm -i ${rpm(OLD)}
    crisp version; ${STARTED}
    rpm -V crisp
    rpm -U ${rpm(NEW)}
    crisp version; ${STARTED}
    rpm -U --oldpackage ${rpm(OLD)}; ${STARTED}
    echo '# own' >>/etc/crisp/crisp.toml
    rpm -e crisp 2>&1; left
    rpm -i ${rpm(NEW)} 2>&1
    mkdir -p /var/lib/crisp/images
    /usr/lib/crisp/purge
    rpm -e crisp 2>&1; left`);
  const wanted = [
    ...[/^crisp 1\.0\.0-rc\.1 /, /^1\.0\.0-rc\.1-/, /^2$/],
    ...[/^crisp 1\.0\.0 /, /^1\.0\.0-[0-9a-f]{12}$/, /^2$/],
    ...[/^1\.0\.0-rc\.1-/, /^2$/],
    ...[/crisp\.toml saved as .*\.rpmsave$/, /^\/etc\/crisp$/, /^\/etc\/crisp\/crisp\.toml\.rpmsave$/],
    /^crisp: images, records and configuration are deleted; now remove the package$/,
  ];
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
});

/** systemd by fake-systemctl, which may start daemons, and the one that runs. */
const SYSTEMD = `
    mkdir -p /run/systemd/system /usr/local/sbin
    cp '${join(import.meta.dirname, 'fake-systemctl')}' /usr/local/sbin/systemctl
    printf '#!/bin/sh\\nexit 0\\n' >/usr/local/sbin/systemd-tmpfiles; chmod 755 /usr/local/sbin/systemd-tmpfiles
    rm -f /usr/sbin/policy-rc.d; hash -r
    trap '[ ! -e /run/daemon.pid ] || kill "$(cat /run/daemon.pid)" 2>/dev/null || true' EXIT`;
const daemon = 'basename "$(readlink /proc/$(cat /run/daemon.pid)/exe | sed s,/lib/node,,)"';

test('an upgrade restarts a daemon that runs, and no other; a build that does not start is left for the one before', () => {
  const output = lines(`${SYSTEMD}
    dpkg -i ${deb(OLD)} ${QUIET}
    echo "installed: $(${daemon})"
    dpkg -i ${deb(NEW)} ${QUIET}
    echo "upgraded: $(${daemon})"; ls /usr/lib/crisp/running | wc -l; cat /usr/lib/crisp/build >/run/broken
    dpkg -i ${deb(OLD)} ${QUIET}
    echo "downgraded: $(${daemon})"
    dpkg -i ${deb(NEW)} 2>&1 | grep '^crisp:' || true
    echo "broken: $(${daemon})"; readlink /usr/lib/crisp/running/current; dpkg-query -f '\${Status}\\n' -W crisp
    rm /run/broken; dpkg --configure crisp ${QUIET}
    echo "configured: $(${daemon})"
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    dpkg -i ${deb(OLD)} 2>&1 | grep '^crisp:'
    echo "forbidden: $(${daemon})"; readlink /usr/lib/crisp/running/current; ls /usr/lib/crisp/running | wc -l
    rm /usr/sbin/policy-rc.d
    dpkg -r crisp 2>&1 | grep '^crisp:'
    systemctl stop crisp
    dpkg -i ${deb(NEW)} ${QUIET}
    echo "stopped: $(systemctl show -P MainPID crisp)"; ls /usr/lib/crisp/running | wc -l
    dpkg -r crisp ${QUIET}; dpkg -i ${deb(NEW)} ${QUIET}
    echo "again: $(${daemon})"
    systemctl stop crisp; dpkg -P crisp ${QUIET}; left`);
  const wanted = [
    /^installed: 1\.0\.0-rc\.1-/,
    ...[/^upgraded: 1\.0\.0-[0-9a-f]{12}$/, /^2$/],
    /^downgraded: 1\.0\.0-rc\.1-/,
    /^crisp: 1\.0\.0-[0-9a-f]{12} does not start; 1\.0\.0-rc\.1-[0-9a-f]{12} is back in place/,
    ...[/^broken: 1\.0\.0-rc\.1-/, /^1\.0\.0-rc\.1-/, /^install ok half-configured$/],
    /^configured: 1\.0\.0-[0-9a-f]{12}$/,
    /^crisp: the daemon was not restarted: 1\.0\.0-rc\.1-[0-9a-f]{12} serves when it is$/,
    ...[/^forbidden: 1\.0\.0-[0-9a-f]{12}$/, /^1\.0\.0-rc\.1-/, /^4$/],
    /^crisp: connect ENOENT /,
    /^crisp: the daemon does not list its pods; stop it first to remove it anyway/,
    ...[/^stopped: 0$/, /^2$/],
    /^again: 1\.0\.0-[0-9a-f]{12}$/,
    ...[/^\/usr\/local\/sbin\/systemctl$/, /^\/usr\/local\/sbin\/systemd-tmpfiles$/],
  ];
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
});

test('an upgrade interrupted while the new build starts is continued, with the build before to go back to', () => {
  const output = lines(`${SYSTEMD}
    dpkg-deb --fsys-tarfile ${deb(NEW)} | tar -xO ./usr/lib/crisp/build >/run/hanging
    dpkg -i ${deb(OLD)} ${QUIET}
    interrupted() { # COMMAND...: its power goes when the daemon has a process and is not ready
      earlier=$(cat /run/starting || true)
      setsid "$@" ${QUIET} &
      until pid=$(cat /run/starting) && [ "$pid" != "$earlier" ]; do kill -0 $!; sleep 0.1; done 2>/dev/null
      kill -KILL -$!; wait $! || true
      echo "starting: $(${daemon})"; readlink /usr/lib/crisp/running/previous || true
    }
    interrupted dpkg -i ${deb(NEW)}
    mv /run/hanging /run/broken
    dpkg --configure -a 2>&1 | grep '^crisp:' || true
    echo "broken: $(${daemon})"; ${STARTED}; dpkg-query -f '\${Status}\\n' -W crisp
    mv /run/broken /run/hanging
    interrupted dpkg --configure crisp
    interrupted dpkg --configure crisp
    rm /run/hanging; dpkg --configure -a ${QUIET}
    echo "configured: $(${daemon})"; ${STARTED}; dpkg-query -f '\${Status}\\n' -W crisp`);
  const [before, build] = [/^1\.0\.0-rc\.1-[0-9a-f]{12}$/, /^1\.0\.0-[0-9a-f]{12}$/];
  const starting = [/^starting: 1\.0\.0-[0-9a-f]{12}$/, before];
  const wanted = [
    ...starting,
    /^crisp: 1\.0\.0-[0-9a-f]{12} does not start; 1\.0\.0-rc\.1-[0-9a-f]{12} is back in place/,
    ...[/^broken: 1\.0\.0-rc\.1-/, before, /^2$/, /^install ok half-configured$/],
    ...[...starting, ...starting],
    ...[/^configured: 1\.0\.0-[0-9a-f]{12}$/, build, /^2$/, /^install ok installed$/],
  ];
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
});

test('a purge empties directories that are file systems of their own, and does all else', () => {
  const output = lines(`
    rpm() { command rpm --force-debian --nodeps "$@"; }
    network=/etc/cni/net.d/99-crisp-bridge.conflist
    mounted() {
      mkdir -p /var/lib/crisp /etc/cni/net.d; mount -t tmpfs tmpfs /var/lib/crisp; mkdir -p /var/lib/crisp/images/layers
      cp /usr/share/crisp/examples/99-crisp-bridge.conflist $network
    }
    emptied() { find /var/lib/crisp -mindepth 1; mountpoint /var/lib/crisp; umount /var/lib/crisp; rmdir /var/lib/crisp; ls $network 2>/dev/null || true; }
    dpkg -i ${deb(NEW)} ${QUIET}; mounted
    dpkg -P crisp ${QUIET} || echo "failed: $(dpkg-query -f '\${Status}' -W crisp)"
    emptied; left
    rpm -i ${rpm(NEW)} 2>&1; mounted
    /usr/lib/crisp/purge 2>&1 || echo failed
    emptied; cmp /etc/crisp/crisp.toml /usr/share/crisp/examples/crisp.toml 2>&1 || true
    rpm -e crisp 2>&1; rmdir /etc/cni/net.d /etc/cni; left`);
  assert.deepEqual(output, [
    '/var/lib/crisp is a mountpoint',
    'crisp: images, records and configuration are deleted; now remove the package',
    '/var/lib/crisp is a mountpoint',
  ]);
});

test('neither a removal nor a purge deletes anything below a daemon that runs', () => {
  const output = lines(`${SYSTEMD}
    dpkg -i ${deb(NEW)} ${QUIET}
    mkdir -p /var/lib/crisp/images /run/crisp/exits
    state() { echo "$1: $(${daemon})"; ls -d /usr/lib/crisp/running/current/lib/node /var/lib/crisp/images /run/crisp/exits 2>&1; dpkg-query -f '\${Status}\\n' -W crisp; }
    ln -sfn /bin/true /usr/bin/crisp # no pods
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    dpkg -P crisp 2>&1 | grep '^crisp:' || true
    state forbidden
    systemctl stop crisp.socket crisp.service
    dpkg -r crisp ${QUIET}
    mkdir -p /usr/local/lib/crisp/running && cp '${process.execPath}' /usr/local/lib/crisp/running/node
    setsid /usr/local/lib/crisp/running/node -e 'setTimeout(() => {}, 2 ** 30)' ${QUIET} </dev/null & echo $! >/run/daemon.pid
    dpkg -P crisp 2>&1 | grep '^crisp:' || true
    ls -d /var/lib/crisp/images /run/crisp/exits
    systemctl stop crisp.service
    dpkg -P crisp ${QUIET}
    ls -d /var/lib/crisp /run/crisp 2>/dev/null || true`);
  const refusal =
    /^crisp: the daemon or its socket is active, .*: systemctl stop crisp\.socket crisp\.service$/;
  const wanted = [
    ...[refusal, /^forbidden: 1\.0\.0-[0-9a-f]{12}$/],
    ...[
      /^\/run\/crisp\/exits$/,
      /^\/usr\/lib\/crisp\/running\/current\/lib\/node$/,
      /^\/var\/lib\/crisp\/images$/,
    ],
    /^(purge|deinstall|install) ok installed$/,
    ...[refusal, /^\/run\/crisp\/exits$/, /^\/var\/lib\/crisp\/images$/],
  ];
  assert.equal(output.length, wanted.length, output.join('\n'));
  wanted.forEach((pattern, n) => {
    assert.match(output[n] ?? '', pattern);
  });
});

test('both refuse a node with an installation from the tarball, and change nothing; so does the tarball beside a package', () => {
  const output = lines(
    `
    mkdir -p /usr/local/lib/crisp/current
    : >/usr/local/lib/crisp/current/install
    echo 'ExecStart=/usr/local/bin/crisp serve' >/etc/systemd/system/crisp.service
    left >before
    dpkg -i ${deb(NEW)} 2>&1 | grep '^crisp:'
    rpm --force-debian --nodeps -i ${rpm(NEW)} 2>&1 | grep '^crisp:'
    left | diff before -
    rm -r /usr/local/lib/crisp /etc/systemd/system/crisp.service
    dpkg -i ${deb(NEW)} ${QUIET}
    mkdir -p tree/share && cd tree && cp -R /usr/lib/crisp/bin /usr/lib/crisp/lib .
    cd '${join(import.meta.dirname, '../../deploy')}' && cp install "$OLDPWD" && cp purge.sh builds.sh "$OLDPWD/share" && cd "$OLDPWD"
    ./install 2>&1`.replace('./install 2>&1', './install 2>&1 || true'),
  );
  const remedy =
    /installed from its tarball in \/usr\/local\. Remove that first.*: \/usr\/local\/lib\/crisp\/current\/install --remove$/;
  assert.equal(output.length, 3, output.join('\n'));
  assert.match(output[0] ?? '', remedy);
  assert.match(output[1] ?? '', remedy);
  assert.match(output[2] ?? '', /^crisp: crisp is installed as a package: upgrade or remove that/);
});

test('without conmon, an OCI runtime and a compiler it is installed, and names them by the packages of the distribution', () => {
  const check = `crisp check --output json | tr -d '\\n' | grep -oE '"id": "(conmon|oci-runtime)"[^}]*"remedy": "[^";]*' | sed 's/.*"remedy"/remedy/'`;
  const output = lines(`
    dpkg -i ${deb(NEW)} ${QUIET}
    for program in conmon crun runc gcc cc; do
      while path=$(command -v $program); do rm "$path"; hash -r; done
    done
    release() { rm -f /etc/os-release && echo "$1" >/etc/os-release; ${check}; }
    release ID=debian
    release 'ID="rocky"
ID_LIKE="rhel centos fedora"'
    release ID=opensuse-leap`);
  assert.deepEqual(
    output,
    [
      ...['remedy": "apt-get install crun', 'remedy": "apt-get install conmon'],
      ...['remedy": "dnf install crun', 'remedy": "dnf install conmon'],
      ...['remedy": "zypper install crun', 'remedy": "zypper install conmon'],
    ].map((line) => line.replace('remedy":', 'remedy:')),
  );
});
