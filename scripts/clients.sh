#!/usr/bin/env bash
# Installs the SDKs that tests/clients.rs runs into a directory (target/clients unless given).
# Does nothing when they are there and their pinned versions have not changed.
set -euo pipefail
cd "$(dirname "$0")/.."
sources=tests/clients
home=${1:-${CARGO_TARGET_DIR:-target}/clients}
mkdir -p "$home"

# fresh NAME FILE...: whether what NAME stands for was installed from these very files
fresh() {
  local name=$1
  shift
  [ "$(cat "$@" | sha256sum)" = "$(cat "$home/$name.stamp" 2>/dev/null)" ]
}
stamp() {
  local name=$1
  shift
  cat "$@" | sha256sum >"$home/$name.stamp"
}

if ! fresh python $sources/python/requirements.txt || [ ! -x "$home/python/bin/python" ]; then
  echo "clients: installing the Python SDKs"
  rm -rf "$home/python"
  python3 -m venv "$home/python"
  "$home/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --requirement $sources/python/requirements.txt
  stamp python $sources/python/requirements.txt
fi

locked=("$sources/node/package.json" "$sources/node/package-lock.json")
if ! fresh node "${locked[@]}" || [ ! -d "$home/node/node_modules" ]; then
  echo "clients: installing the Node SDKs, Claude Code and Codex"
  rm -rf "$home/node"
  mkdir -p "$home/node"
  cp "${locked[@]}" $sources/node/.npmrc "$home/node/"
  npm ci --prefix "$home/node" --loglevel=error
  stamp node "${locked[@]}"
fi
# Node resolves packages from where a script lies.
cp $sources/node/*.js "$home/node/"
