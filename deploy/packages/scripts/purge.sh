# Stops crisp and deletes images, records and configuration, before the package is removed (rpm has no purge; dpkg --purge does the same).
[ "$(id -u)" = 0 ] || fail "run this as root"
refuse_pods
if pods_are_mounted; then
  fail "mounts of pods remain below /run/crisp or /var/lib/crisp: start the daemon and remove its pods first"
fi
if booted; then systemctl stop crisp.socket crisp.service; fi
purge_data
# The package's own, as it came: its removal warns of what is missing, and keeps what was changed.
mkdir -p /etc/crisp/crisp.toml.d
cp /usr/share/crisp/examples/crisp.toml /etc/crisp/crisp.toml
network=/etc/cni/net.d/99-crisp-bridge.conflist
if cmp -s "$network" /usr/share/crisp/examples/99-crisp-bridge.conflist; then rm -f "$network"; fi
say "images, records and configuration are deleted; now remove the package"
