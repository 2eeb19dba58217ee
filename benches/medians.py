"""Reads `case round seconds-of-CPU requests microseconds p50 p99` lines; prints medians and ratios as a table."""

import statistics
import sys

runs = {}
for line in sys.stdin:
    case, _round, cpu, requests, time, p50, p99 = line.rstrip("\n").split("\t")
    requests = int(requests)
    runs.setdefault(case, []).append((float(cpu) / requests * 1e6, requests / int(time) * 1e6, int(p50), int(p99)))

base = [run[0] for run in next(iter(runs.values()))]
print("| | CPU a request, µs | × nginx | requests/s | p50, ms | p99, ms |")
print("|---|---|---|---|---|---|")
for case, measured in runs.items():
    cpu, rate, p50, p99 = (statistics.median(column) for column in zip(*measured))
    # Round by round: what the machine did to one run it did to its neighbours.
    ratios = [run[0] / nginx for run, nginx in zip(measured, base)]
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    print(
        f"| {case} | {cpu:.1f} | {statistics.median(ratios):.2f} ({spread}) | {rate:,.0f} | {p50 / 1000:.2f} | {p99 / 1000:.2f} |"
    )
