"""Reads h2load's log of requests; prints a line as report.lua does."""

import sys

times, bad = [], 0
with open(sys.argv[1]) as log:
    for line in log:
        _start, status, time = line.split()
        times.append(int(time))
        bad += not 200 <= int(status) < 400
times.sort()
print("RESULT", len(times), int(float(sys.argv[2]) * 1e6), times[len(times) // 2], times[len(times) * 99 // 100], bad, 0)
