#!/usr/bin/env bash
# Fuzzes: `fuzz/run.sh [seconds for each target] [target ...]`. Needs Rust's nightly and a C++
# compiler; builds what `cargo fuzz build` builds, from recorded answers as the first inputs.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(sse event_stream json_array alias file_refs places count relay batch fault body \
  request answer stream)

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTUP_TOOLCHAIN=nightly
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions \
-Ccodegen-units=4"
"${CARGO:-cargo}" build --release --target "$host" --bins
folder=${CARGO_TARGET_DIR:-target}/$host/release

# The first bytes of an input choose the dialects and the cuts.
seed() {
  local target=$1 file number=0 head
  mkdir -p "corpus/$target"
  for file in ../core/tests/fixtures/*/*.* seeds/*; do
    [ "$(stat -c %s "$file")" -le 16384 ] || continue
    case $target in
      request | stream | count | relay | fault | body) head=$(printf '\\x%02x\\x%02x' $((number % 24)) $((number * 7 % 256))) ;;
      *) head=$(printf '\\x%02x' $((number % 24))) ;;
    esac
    { printf '%b' "$head" && cat "$file"; } >"corpus/$target/seed-$number"
    number=$((number + 1))
  done
}

for target in "${targets[@]}"; do
  seed "$target"
  mkdir -p "artifacts/$target"
  echo "fuzz: $target for $seconds s"
  "$folder/$target" "corpus/$target" -max_total_time="$seconds" -max_len=16384 -timeout=20 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 -artifact_prefix="artifacts/$target/"
done
