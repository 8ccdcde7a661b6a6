#!/usr/bin/env bash
# One test host, in the memory of namespaces of its own: once this process has ended, however it did, the kernel has ended all of it.
# `boot` on standard input starts it; prints `booted`, and `ended` when it is off.
# Usage: unshare --mount --propagation private --pid --fork --kill-child --mount-proc machine.sh IMAGE NAME BIND…
set -euo pipefail
image=$1 name=$2
shift 2

# Hosts don't share a control group: each systemd is the root of its own.
groups=()
for root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [[ ! -e $root/cgroup.procs ]] || groups+=("$root")
done
for root in "${groups[@]}"; do
  mkdir "$root/$name"
  echo $$ >"$root/$name/cgroup.procs"
done

# systemd-nspawn's own traces too.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/host
tar --extract --xattrs --file="$image" --directory=/run/host
echo made
exec 2>>/run/console
while read -r; do
  echo booted
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine="$name" --directory=/run/host "$@" \
    </dev/null >>/run/console || true
  echo ended
done
for root in "${groups[@]}"; do
  echo $$ >"$root/cgroup.procs"
  find "$root/$name" -depth -type d -exec rmdir {} +
done
