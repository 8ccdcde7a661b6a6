#!/usr/bin/env bash
# One test host: all of it stands in the memory of a mount namespace of its own, so that nothing is left once this process has ended.
# `boot` on standard input starts it; prints `booted PID` and `ended CODE` (133: it wants to be started again).
# Usage: unshare --mount --propagation private machine.sh IMAGE NAME BIND…
set -euo pipefail
image=$1 name=$2
shift 2
nspawn=

# Hosts don't share a control group: each systemd is the root of its own.
groups=()
for root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [[ ! -e $root/cgroup.procs ]] || groups+=("$root")
done
leave() {
  # Asked twice (its input ends, and its parent), it isn't broken off.
  trap '' EXIT TERM
  set +e
  if [[ $nspawn ]]; then
    # The host's systemd, and with it all of the host; killed itself, systemd-nspawn would leave it running.
    kill -KILL $(</proc/"$nspawn"/task/"$nspawn"/children)
    wait "$nspawn"
  fi
  for root in "${groups[@]}"; do
    echo $$ >"$root/cgroup.procs"
    find "$root/$name" -depth -type d -exec rmdir {} +
  done
}
trap leave EXIT
trap 'exit 143' TERM
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
  systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --machine="$name" --directory=/run/host "$@" \
    </dev/null >>/run/console &
  nspawn=$!
  echo "booted $nspawn"
  code=0
  wait "$nspawn" || code=$?
  nspawn=
  echo "ended $code"
done
