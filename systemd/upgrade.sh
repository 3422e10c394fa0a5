#!/usr/bin/env bash
# Changes the program of a running gateway and loses nothing: meridian-upgrade [BINARY] [UNIT].
# With BINARY it is put in place first. UNIT is meridian.service unless given.
set -euo pipefail
binary=${1:-}
unit=${2:-meridian.service}
wait_s=${UPGRADE_WAIT_S:-300}

# main: process id of the unit's main process, 0 without one
main() { systemctl show --property MainPID --value "$unit"; }

old=$(main)
[ "$old" != 0 ] || { echo "upgrade: $unit does not run" >&2; exit 1; }
if [ -n "$binary" ]; then
  "$binary" --version
  cp -f "$binary" /usr/bin/meridian.new
  chmod 0755 /usr/bin/meridian.new
  cp -fp /usr/bin/meridian /usr/bin/meridian.previous
  mv -f /usr/bin/meridian.new /usr/bin/meridian
fi
kill -USR2 "$old"
for _ in $(seq "$wait_s"); do
  new=$(main)
  if [ "$new" != "$old" ] && [ "$new" != 0 ]; then
    echo "upgrade: process $new serves; $old finishes what runs"
    exit 0
  fi
  sleep 1
done
echo "upgrade: $old still serves; journalctl -u $unit says why." >&2
[ -z "$binary" ] || {
  mv -f /usr/bin/meridian.previous /usr/bin/meridian
  echo "upgrade: the program on disk is the previous one again" >&2
}
exit 1
