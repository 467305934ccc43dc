"""Workers, interleaving, statistics and tables that the three comparisons share.

A worker is a process of its own, so that its peak memory (VmHWM) is its own. It answers requests line by line: JSON in,
JSON out. Engines take turns in blocks of a few iterations, round after round, so that a slow minute of the machine meets
all of them. Times are milliseconds of wall clock.
"""

import json
import os
import subprocess
import sys
import time

# Thread pools spin for a while after their work; the next engine must not pay for it.
REST_SECONDS = 0.3


def peak_mb():
    """Most memory this process has had, in MB of 2^20 bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return None


def serve(run, version, outputs=None):
    """The worker's side: answers requests until its input ends. `run()` is one iteration."""
    answer = sys.__stdout__
    print(json.dumps({"ready": True, "version": version}), file=answer, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "outputs" in request:
            import numpy

            numpy.savez(request["outputs"], *outputs())
            reply = {}
        else:
            times = []
            for _ in range(request["run"]):
                begin = time.perf_counter()
                run()
                times.append((time.perf_counter() - begin) * 1e3)
            reply = {"ms": times}
        print(json.dumps({**reply, "peak_mb": peak_mb()}), file=answer, flush=True)


class Worker:
    """The driver's side of a worker process."""

    def __init__(self, name, script, arguments, threads):
        self.name, self.peak = name, None
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        command = [sys.executable, script, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        self.version = self.read()["version"]

    def read(self):
        """The next answer; libraries that print to standard output are passed over."""
        for line in self.process.stdout:
            try:
                reply = json.loads(line)
            except ValueError:
                continue
            if isinstance(reply, dict):
                return reply
        error = self.process.stderr.read()
        last = error.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{self.name}: {last[0]}")

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        reply = self.read()
        self.peak = reply.get("peak_mb")
        return reply

    def block(self, iterations):
        return self.ask(run=iterations)["ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Kinglet:
    """Kinglet in short runs of its own command, each with its warm-up; `times` picks them from the JSON."""

    def __init__(self, command, times, warmup=2, name="kinglet"):
        self.name, self.command, self.times, self.warmup, self.peak = name, command, times, warmup, None
        program = command[0]
        self.version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
        self.last = None

    def block(self, iterations):
        arguments = [*self.command, "--warmup", str(self.warmup), "--repeats", str(iterations), "--json", "--quiet"]
        ran = subprocess.run(arguments, capture_output=True, text=True)
        if ran.returncode != 0:
            raise RuntimeError(f"kinglet: {ran.stderr.strip()}")
        self.last = json.loads(ran.stdout)
        self.peak = max(self.peak or 0, self.last["peak_rss_mb"] or 0)
        return self.times(self.last)

    def close(self):
        pass


def percentile(values, share):
    """The smallest value that `share` of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * share // 100) - 1)]


def median(values):
    ranked = sorted(values)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2


def interleave(engines, rounds, iterations, warmup=3):
    """Blocks of each engine in turn, the order turning by one each round; name -> list of rounds of times."""
    for engine in engines:
        if isinstance(engine, Worker):
            engine.block(warmup)
    times = {engine.name: [] for engine in engines}
    for number in range(rounds):
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            time.sleep(REST_SECONDS)
            times[engine.name].append(engine.block(iterations))
    return times


def summary(engines, times, base="kinglet"):
    """One row an engine: times, and how many times as long as `base` it takes, with the spread over the rounds."""
    rows = []
    for engine in engines:
        rounds = times[engine.name]
        flat = [ms for block in rounds for ms in block]
        row = {
            "engine": engine.name,
            "version": engine.version,
            "min_ms": min(flat),
            "median_ms": median(flat),
            "p95_ms": percentile(flat, 95),
            "peak_mb": engine.peak,
        }
        if base in times:
            ratios = [median(a) / median(b) for a, b in zip(rounds, times[base])]
            row["ratio"] = median(flat) / median([ms for block in times[base] for ms in block])
            row["ratio_of_min"] = min(flat) / min(ms for block in times[base] for ms in block)
            row["ratio_min"], row["ratio_max"] = min(ratios), max(ratios)
        rows.append(row)
    return rows


def table(rows):
    """The summary as an aligned table."""
    head = ["engine", "min ms", "median ms", "p95 ms", "x kinglet", "of min", "over rounds", "MB"]
    cells = []
    for row in rows:
        ratio = [f"{row['ratio']:.2f}", f"{row['ratio_of_min']:.2f}", f"{row['ratio_min']:.2f}-{row['ratio_max']:.2f}"]
        cells.append(
            [row["engine"], *(f"{row[key]:.2f}" for key in ("min_ms", "median_ms", "p95_ms"))]
            + (ratio if "ratio" in row else ["", "", ""])
            + [f"{row['peak_mb']:.0f}" if row["peak_mb"] else ""]
        )
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = []
    for line in [head, *cells]:
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))
        lines.append("   ".join([line[0].ljust(widths[0]), *rest]).rstrip())
    return "\n".join(lines)


def machine():
    """What the numbers were measured on."""
    model = ""
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "processors": os.cpu_count(), "load": os.getloadavg()[0], "time": time.strftime("%F %T")}
