# Nothing is stopped at an upgrade.
[ "$1" = 0 ] || exit 0
refuse_pods
if command -v systemctl >/dev/null; then systemctl --no-reload disable crisp.socket crisp.service >/dev/null 2>&1 || true; fi
if booted; then systemctl stop crisp.socket crisp.service; fi
rm -rf "$running"
