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
  if systemctl show -P ActiveState crisp.socket crisp.service | grep -qvxE 'inactive|failed|'; then
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

point_to() { # LINK BUILD
  ln -sfn "$2" "$running/.$1.$$"
  mv -T "$running/.$1.$$" "$running/$1"
}

# The build from which the unit's main process runs, also before it serves; empty without one.
main_build() {
  booted || return 0
  exe=$(readlink "/proc/$(systemctl show -P MainPID crisp.service)/exe" || true)
  case $exe in "$running"/*)
    exe=${exe#"$running/"}
    printf '%s\n' "${exe%%/*}" ;;
  esac
}

# The build that serves: its daemon has notified READY.
serving() { if active; then main_build; fi; }
stopped() { [ "$(systemctl show -P ActiveState crisp.service)" = inactive ]; }

# activate RESTART...: the packaged build becomes the current one; a daemon that runs is restarted by the command, pods run on. Sets
# `before` to the build before, which is empty at the first installation. The link `previous`, to the last build that has served, is there
# until the new one serves: an interrupted restart is continued from it, with the same way back.
activate() {
  served=$(serving)
  served=${served:-$(readlink "$running/previous" || true)}
  before=${served:-$(readlink "$running/current" || true)}
  link_build
  if [ -n "$served" ]; then point_to previous "$served"; fi
  point_to current "$build"
  if booted; then
    systemctl daemon-reload
    if [ -n "$served" ] && ! stopped && [ "$(serving)" != "$build" ]; then
      "$@" || roll_back "$@"
      [ "$(serving)" = "$build" ] || say "the daemon was not restarted: $build serves when it is"
    fi
  fi
  if [ "$(serving)" = "$build" ] || [ "$served" = "$build" ]; then rm -f "$running/previous"; fi
  remove_builds
}

# All but the current one, the one to go back to, and that of a daemon that was not restarted, which still loads files.
remove_builds() {
  kept=" current previous $build $(readlink "$running/previous" || true) $(main_build) "
  for old in "$running"/*; do
    case $kept in *" ${old##*/} "*) ;; *) rm -rf "$old" ;; esac
  done
}

roll_back() { # RESTART...
  journalctl -u crisp.service -n 15 --no-pager -o cat >&2 || true
  [ "$served" != "$build" ] && [ -d "$running/$served" ] ||
    fail "the daemon does not start; its log is above (journalctl -u crisp)"
  point_to current "$served"
  "$@" || true
  rm -rf "${running:?}/$build" "$running/previous"
  fail "$build does not start; $served is back in place. The log is above."
}
