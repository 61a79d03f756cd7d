# Builds of crisp side by side, and the way from one to the next: a part of `install` and of the scripts of the packages. `running` is their
# directory, with a link to the current one, from which the unit starts the daemon; link_build sets `build` to the name of the new one.

point_to() { # LINK BUILD
  ln -sfn "$2" "$running/.$1.$$"
  mv -T "$running/.$1.$$" "$running/$1"
}

# The build from which the unit's main process runs, also before it serves; empty without one.
main_build() {
  booted || return 0
  exe=$(readlink "/proc/$(systemctl show -p MainPID --value crisp.service)/exe" || true)
  case $exe in "$running"/*)
    exe=${exe#"$running/"}
    printf '%s\n' "${exe%%/*}" ;;
  esac
}

# The build that serves: its daemon has notified READY.
serving() { if active; then main_build; fi; }
stopped() { [ "$(systemctl show -p ActiveState --value crisp.service)" = inactive ]; }

# activate RESTART...: the build that link_build makes becomes the current one; a daemon that runs is restarted by the command, with
# `starts` set to yes one that does not run is started by it; pods run on. Sets `before` to the build before, which is empty at the
# first installation. The link `previous`, to the last build that has served, is there until the new one serves: an interrupted restart
# is continued from it, with the same way back.
starts=no
activate() {
  served=$(serving)
  served=${served:-$(readlink "$running/previous" || true)}
  before=${served:-$(readlink "$running/current" || true)}
  if [ "$starts" = yes ]; then served=$before; fi
  link_build
  if [ -n "$served" ]; then point_to previous "$served"; fi
  point_to current "$build"
  if booted; then
    systemctl daemon-reload
    if { [ "$starts" = yes ] || { [ -n "$served" ] && ! stopped; }; } && [ "$(serving)" != "$build" ]; then
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
  [ -n "$served" ] && [ "$served" != "$build" ] && [ -d "$running/$served" ] ||
    fail "the daemon does not start; its log is above (journalctl -u crisp)"
  point_to current "$served"
  "$@" || true
  rm -rf "${running:?}/$build" "$running/previous"
  fail "$build does not start; $served is back in place. The log is above."
}
