# The end of crisp's data on a node: a part of `install` and of the scripts of the packages.

# Mounts of layers that are EROFS images, below a mount of their directory.
layers=/run/crisp/images/layers

# Layers may stay mounted without pods; they go with the daemon, or in purge_data.
pods_are_mounted() {
  grep -E ' (/var/lib|/run)/crisp/' /proc/self/mountinfo | grep -qvF " $layers"
}

# A file system of its own is emptied, and stays mounted: rm would fail at the mount point.
remove_directory() { # PATH
  if [ ! -L "$1" ] && mountpoint -q "$1"; then find "$1" -xdev -mindepth 1 -delete; else rm -rf "$1"; fi
}

# Images, records, configuration; the daemon is stopped and there are no pods.
purge_data() {
  if grep -qF " $layers" /proc/self/mountinfo; then umount -R -l "$layers"; fi
  for path in /var/lib/crisp /run/crisp /etc/crisp /var/cache/crisp /var/lib/cni/networks/crisp-bridge; do remove_directory "$path"; done
  rmdir /var/lib/cni/networks /var/lib/cni/results /var/lib/cni /run/nri 2>/dev/null || true
  ip link delete crisp0 2>/dev/null || true
}
