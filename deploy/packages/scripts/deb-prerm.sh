# Nothing is stopped at an upgrade.
[ "$1" = remove ] || exit 0
refuse_pods
if booted; then deb-systemd-invoke stop crisp.socket crisp.service; fi
refuse_running
rm -rf "$running"
