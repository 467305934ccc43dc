#!/usr/bin/env bash
# The pages in a real browser: a demo training watched live, its weights on the detection page, its run compared.
# Needs the built program, Chromium and npm (for playwright-core); says so and succeeds where they cannot be had.
# Usage: run.sh [PROGRAM] [FOLDER FOR SCREENSHOTS] [WEIGHTS AND PICTURE FOR THE DETECTION PAGE]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
program=$(realpath "${1:-$here/../../../target/release/kinglet}")
shots=${2:-}
weights=${3:+$(realpath "$3")}
picture=${4:+$(realpath "$4")}
[ -x "$program" ] || { echo "there is no program at $program; build it: cargo build --release --bin kinglet" >&2; exit 1; }
skip() { echo "browser test skipped: $1"; exit 0; }

if ! command -v chromium > /dev/null; then
  { apt-get update -qq && apt-get install -y -qq chromium; } > /dev/null 2>&1 || true
fi
chromium=$(command -v chromium) || skip "there is no Chromium (apt-get install chromium)"
command -v npm > /dev/null || skip "there is no npm"

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT
cd "$work"
npm install --silent --no-audit --no-fund --ignore-scripts playwright-core@1 > npm.log 2>&1 || skip "playwright-core cannot be installed"
cp "$here/check.mjs" .

# The address that a program printed into a file.
address() {
  for _ in $(seq 600); do
    grep -s -o -m 1 'http://127[^ ]*' "$1" && return
    sleep 0.1
  done
  cat "$1" >&2
  return 1
}
check() { CHROMIUM=$chromium SHOTS=$shots node check.mjs "$@"; }

"$program" train --ui 127.0.0.1:0 --epochs 20 > train.log 2>&1 &
pids+=($!)
check live "$(address train.log)"
wait "${pids[0]}"

"$program" serve --weights "${weights:-runs/train/exp/weights/best.safetensors}" --port 0 > serve.log 2>&1 &
pids+=($!)
demo=$(find . -path '*images/test/*' | sort | sed -n 3p)
check detect "$(address serve.log)" "${picture:-$demo}"

cp -r runs/train/exp runs/train/exp2
sed -i 's/^seed: .*/seed: 1/' runs/train/exp2/opt.yaml
"$program" ui runs --at 127.0.0.1:0 > ui.log 2>&1 &
pids+=($!)
check runs "$(address ui.log)"
echo "browser test passed"
