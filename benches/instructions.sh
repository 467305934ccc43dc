#!/usr/bin/env bash
# Counts the instructions of a small forward pass and training step, and fails where there are more than the bounds
# below: a clock on a shared machine cannot tell a change of 10 %, this can. Needs valgrind, which runs AVX2 code.
#
# The count of one run is that of three less that of one, halved: starting up and packing weights cancel out.
set -euo pipefail
cd "$(dirname "$0")/.."

# Millions of instructions, a tenth above what was measured last.
declare -A BOUND=([forward]=18 [step]=272)

if ! command -v valgrind > /dev/null; then
    echo "instruction counts skipped: no valgrind on this machine"
    exit 0
fi
if ! grep -q avx2 /proc/cpuinfo; then
    echo "instruction counts skipped: the bounds are for AVX2"
    exit 0
fi
cargo build --release --locked --workspace --example instructions
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null ./target/release/examples/instructions "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : //p'
}
status=0
for what in forward step; do
    one=$(count "$what" 1)
    three=$(count "$what" 3)
    millions=$(((three - one) / 2000000))
    echo "$what: $millions million instructions, bound ${BOUND[$what]}"
    if ((millions > BOUND[$what])); then
        echo "more than the bound: find out why, or raise it in benches/instructions.sh with the reason in the commit" >&2
        status=1
    fi
done
exit $status
