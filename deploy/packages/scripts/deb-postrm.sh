case $1 in
  remove)
    rm -rf /var/cache/crisp
    if booted; then systemctl daemon-reload; fi
    ;;
  purge)
    refuse_running # also one of the tarball, installed after the removal
    if pods_are_mounted; then
      fail "mounts of pods remain below /run/crisp or /var/lib/crisp: install crisp again and remove its pods, or restart the node, then purge it"
    fi
    purge_data
    # The example, where it was copied as it is: without crisp no pod uses it.
    network=/etc/cni/net.d/99-crisp-bridge.conflist
    if [ -f "$network" ] && [ "$(sha256sum <"$network")" = "@NETWORK_SHA256@  -" ]; then
      rm -f "$network"
      rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
    fi
    if command -v deb-systemd-helper >/dev/null; then deb-systemd-helper purge crisp.service crisp.socket >/dev/null || true; fi
    ;;
esac
