# The daemon runs from hard links of the packaged files, below /usr/lib/crisp/running: while an upgrade replaces the files it still loads
# some of its own, and a build that does not start is left again for the one before.
library=/usr/lib/crisp
running=$library/running

say() { printf 'crisp: %s\n' "$*"; }
fail() { printf 'crisp: %s\n' "$*" >&2; exit 1; }
booted() { [ -d /run/systemd/system ]; }
active() { booted && systemctl is-active --quiet crisp.service; }

# The unit of an installation from the tarball would go before that of the package.
refuse_tarball() {
  unit=/etc/systemd/system/crisp.service
  [ -e "$unit" ] || return 0
  prefix=$(sed -n 's|^ExecStart=\(.*\)/bin/crisp serve$|\1|p' "$unit")
  [ -n "$prefix" ] && [ -e "$prefix/lib/crisp/current/install" ] || return 0
  fail "crisp is installed from its tarball in $prefix. Remove that first, which keeps images and records: $prefix/lib/crisp/current/install --remove"
}

refuse_pods() {
  active || return 0
  pods=$(/usr/bin/crisp ctl -r unix:///run/crisp/crisp.sock pods -q) ||
    fail "the daemon does not list its pods; stop it first to remove it anyway: systemctl stop crisp"
  [ -z "$pods" ] || fail "there are pods: stop the kubelet, then 'crisp ctl rmp -af'; or let them run on without crisp: systemctl stop crisp"
}

# Also while it starts, and where its socket would start it. policy-rc.d(8) may forbid the scripts to stop it.
refuse_running() {
  booted || return 0
  if systemctl show -p ActiveState --value crisp.socket crisp.service | grep -qvxE 'inactive|failed|'; then
    fail "the daemon or its socket is active, which policy-rc.d may keep the package from changing. Stop both: systemctl stop crisp.socket crisp.service"
  fi
}

# Sets `build` to the directory of links with what is packaged.
link_build() {
  build=$(cat "$library/build")
  if [ -d "$running/$build" ]; then
    if diff -rq "$library/bin" "$running/$build/bin" >/dev/null && diff -rq "$library/lib" "$running/$build/lib" >/dev/null; then return; fi
    build=$build-$(date +%Y%m%d%H%M%S) # what was damaged is installed again
  fi
  mkdir -p "$running"
  rm -rf "$running"/.new.* "$running"/.current.* "$running"/.previous.*
  mkdir "$running/.new.$$"
  cp -al "$library/bin" "$library/lib" "$running/.new.$$" 2>/dev/null || cp -a "$library/bin" "$library/lib" "$running/.new.$$"
  # after a power cut the link must not point to incomplete files
  sync -f "$running"
  mv -T "$running/.new.$$" "$running/$build"
}
