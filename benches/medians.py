"""Reads `case round seconds-of-CPU requests microseconds p50 p99 MB` lines; prints medians and ratios as a table. Ratios are
to the first case, round by round: what the machine did to one run it did to its neighbours."""

import statistics
import sys

runs = {}
for line in sys.stdin:
    case, _round, cpu, requests, time, p50, p99, rss = line.rstrip("\n").split("\t")
    requests = max(int(requests), 1)
    runs.setdefault(case, []).append(
        (float(cpu) / requests * 1e6, requests / int(time) * 1e6, int(p50) / 1000, int(p99) / 1000, float(rss))
    )


def spread(column, digits):
    return f"{statistics.median(column):,.{digits}f} ({min(column):,.{digits}f}–{max(column):,.{digits}f})"


base = [run[0] for run in next(iter(runs.values()))]
first = next(iter(runs))
print(f"| | CPU a request, µs | × {first.split(',')[0]} | requests/s | p50, ms | p99, ms | RSS, MB |")
print("|---|---|---|---|---|---|---|")
for case, measured in runs.items():
    cpu, rate, p50, p99, rss = zip(*measured)
    ratios = [run / of for run, of in zip(cpu, base)]
    print(
        f"| {case} | {spread(cpu, 1)} | {spread(ratios, 2)} | {spread(rate, 0)} | {spread(p50, 2)} | {spread(p99, 2)} "
        f"| {max(rss):.1f} |"
    )
