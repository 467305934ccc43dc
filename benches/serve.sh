#!/usr/bin/env bash
# Load on `kinglet serve` over loopback, with wrk (apt-get install wrk): answers a second and latency at 1, 4 and 16
# clients, then memory over some minutes at 4 clients.
# Usage: serve.sh WEIGHTS PICTURE [SECONDS A LOAD] [MINUTES OF MEMORY]; KINGLET names the program, FLAGS further flags of it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
weights=$1 seconds=${3:-20} minutes=${4:-3}
export PICTURE=$2
program=${KINGLET:-$here/../target/release/kinglet}
log=$(mktemp)
"$program" serve --weights "$weights" --name model --port 0 ${FLAGS:-} > "$log" 2>&1 &
server=$!
trap 'kill $server 2> /dev/null; wait $server 2> /dev/null; rm -f "$log"' EXIT
until url=$(grep -o -m 1 'http://127[^ ]*' "$log"); do kill -0 $server; sleep 0.1; done
route=${url}v1/object-detection/model
value() { curl -s "${url}metrics" | awk -v name="$1" '$1 == name { print $2 }'; }

curl -sf -F image=@"$PICTURE" "$route" > /dev/null
printf '%8s %12s %10s %10s %10s %12s\n' clients answers/s p50 p90 p99 mean_batch
for clients in 1 4 16; do
  images=$(value kinglet_images_total) batches=$(value kinglet_batches_total)
  out=$(wrk -t 1 -c "$clients" -d "${seconds}s" --timeout 60s --latency -s "$here/serve.lua" "$route")
  # Answers that are no 2xx would flatter the figures.
  if grep -q 'Non-2xx\|Socket errors' <<< "$out"; then echo "$out" >&2; exit 1; fi
  mean=$(awk -v i="$(value kinglet_images_total)" -v j="$images" -v b="$(value kinglet_batches_total)" -v c="$batches" \
    'BEGIN { printf "%.2f", (i - j) / (b - c) }')
  awk -v n="$clients" -v mean="$mean" '/Requests\/sec/ { r = $2 } $1 == "50%" { a = $2 } $1 == "90%" { b = $2 } $1 == "99%" { c = $2 }
    END { printf "%8d %12.1f %10s %10s %10s %12s\n", n, r, a, b, c, mean }' <<< "$out"
done

[ "$minutes" = 0 ] && exit
printf '\n%8s %10s %10s\n' minute MB images
for minute in $(seq 0 "$minutes"); do
  printf '%8d %10.1f %10d\n' "$minute" "$(awk -v b="$(value process_resident_memory_bytes)" 'BEGIN { print b / 1e6 }')" \
    "$(value kinglet_images_total)"
  [ "$minute" = "$minutes" ] || wrk -t 1 -c 4 -d 60s --timeout 60s -s "$here/serve.lua" "$route" > /dev/null
done
