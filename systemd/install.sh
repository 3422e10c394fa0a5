#!/usr/bin/env bash
# Installs Meridian under systemd: systemd/install.sh [BINARY] (default: target/release/meridian).
# Again with a newer binary, it replaces the file; `meridian-upgrade` then changes what runs.
# DESTDIR stages the files somewhere else and touches no running system.
set -euo pipefail
cd "$(dirname "$0")"
binary=${1:-../target/release/meridian}
root=${DESTDIR:-}
[ -x "$binary" ] || { echo "install: $binary is no program; cargo build --release" >&2; exit 1; }

# put MODE SOURCE TARGET: whole or not at all, also under a running process
put() {
  mkdir -p "$(dirname "$root$3")"
  install -m "$1" "$2" "$root$3.new"
  mv -f "$root$3.new" "$root$3"
}
# keep MODE SOURCE TARGET: only where there is none yet
keep() { [ -e "$root$3" ] || put "$@"; }

put 0755 "$binary" /usr/bin/meridian
put 0755 upgrade.sh /usr/sbin/meridian-upgrade
for unit in meridian.service meridian@.service meridian-admin.service meridian-migrate.service; do
  put 0644 $unit /usr/lib/systemd/system/$unit
done
put 0644 sysusers.conf /usr/lib/sysusers.d/meridian.conf
put 0644 tmpfiles.conf /usr/lib/tmpfiles.d/meridian.conf
keep 0640 meridian.env /etc/meridian/meridian.env
keep 0640 ../conf/minimal.yaml /etc/meridian/config.yaml
[ -z "$root" ] || exit 0

systemd-sysusers /usr/lib/sysusers.d/meridian.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/meridian.conf
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
echo "installed. Set LITELLM_MASTER_KEY in /etc/meridian/meridian.env, then:"
echo "  meridian check --config /etc/meridian/config.yaml && systemctl enable --now meridian"
