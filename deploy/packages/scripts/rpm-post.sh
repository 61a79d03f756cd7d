# The presets of the distribution decide whether it is enabled; nothing is started at the first installation.
if [ "$1" = 1 ] && command -v systemctl >/dev/null; then systemctl --no-reload preset crisp.service >/dev/null 2>&1 || true; fi
if booted; then systemd-tmpfiles --create crisp.conf || true; fi
