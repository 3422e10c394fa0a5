#!/usr/bin/env bash
# Installs what a bare Debian 12 with Rust lacks: `setup.sh build` for building, `setup.sh test` for
# the tests too. Asks for nothing and does nothing when all is there.
set -euo pipefail

if ! command -v cargo >/dev/null; then
  echo "setup: Rust is missing; install it with rustup or from your system's packages" >&2
  exit 1
fi

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
if [ "${1:-build}" = test ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
  command -v redis-server >/dev/null || packages+=(redis-server)
  command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ||
    packages+=(postgresql)
  command -v systemd-analyze >/dev/null || packages+=(systemd)
  command -v promtool >/dev/null || packages+=(prometheus)
  command -v faketime >/dev/null || packages+=(faketime)
  command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

echo "setup: installing ${packages[*]}"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install --yes -q --no-install-recommends "${packages[@]}"
