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

# Sets `build` to the directory of links with what is packaged.
link_build() {
  build=$(cat "$library/build")
  if [ -d "$running/$build" ]; then
    if diff -rq "$library/bin" "$running/$build/bin" >/dev/null && diff -rq "$library/lib" "$running/$build/lib" >/dev/null; then return; fi
    build=$build-$(date +%Y%m%d%H%M%S) # what was damaged is installed again
  fi
  mkdir -p "$running"
  rm -rf "$running"/.new.*
  mkdir "$running/.new.$$"
  cp -al "$library/bin" "$library/lib" "$running/.new.$$" 2>/dev/null || cp -a "$library/bin" "$library/lib" "$running/.new.$$"
  # after a power cut the link must not point to incomplete files
  sync -f "$running"
  mv -T "$running/.new.$$" "$running/$build"
}

switch_to() { # BUILD
  ln -sfn "$1" "$running/.current.$$"
  mv -T "$running/.current.$$" "$running/current"
}

# Whether the daemon runs from this build.
runs() { # BUILD
  case $(readlink "/proc/$(systemctl show -P MainPID crisp.service)/exe" || true) in
    "$running/$1"/*) return 0 ;;
    *) return 1 ;;
  esac
}

# activate RESTART...: the packaged build becomes the current one; a daemon that runs is restarted by the command, pods run on. Sets
# `before` to the build before, which is empty at the first installation.
activate() {
  before=$(readlink "$running/current" || true)
  link_build
  switch_to "$build"
  if booted; then systemctl daemon-reload; fi
  if active && ! runs "$build"; then
    "$@" || roll_back "$@"
    if active && ! runs "$build"; then say "the daemon was not restarted: $build serves when it is"; fi
  fi
  for old in "$running"/*; do
    case ${old##*/} in "$build" | current) continue ;; esac
    if active && runs "${old##*/}"; then continue; fi
    rm -rf "$old"
  done
}

roll_back() { # RESTART...
  journalctl -u crisp.service -n 15 --no-pager -o cat >&2 || true
  [ -n "$before" ] && [ "$before" != "$build" ] && [ -d "$running/$before" ] ||
    fail "the daemon does not start; its log is above (journalctl -u crisp)"
  switch_to "$before"
  "$@" || true
  rm -rf "${running:?}/$build"
  fail "$build does not start; $before is back in place. The log is above."
}
