case $1 in
  configure | abort-upgrade | abort-remove | abort-deconfigure) ;;
  *) exit 0 ;;
esac
# As debhelper does: enabled at the first installation; what the administrator has decided afterwards stays.
deb-systemd-helper unmask crisp.service >/dev/null || true
if deb-systemd-helper --quiet was-enabled crisp.service; then
  deb-systemd-helper enable crisp.service >/dev/null || true
else
  deb-systemd-helper update-state crisp.service >/dev/null || true
fi
deb-systemd-helper update-state crisp.socket >/dev/null || true
if booted; then systemd-tmpfiles --create crisp.conf || true; fi
# deb-systemd-invoke asks policy-rc.d, and does not start what is disabled.
activate deb-systemd-invoke restart crisp.service
if [ -z "$before" ] && booted; then
  deb-systemd-invoke start crisp.service ||
    say "the daemon does not start: see journalctl -u crisp, and what crisp check finds" >&2
fi
