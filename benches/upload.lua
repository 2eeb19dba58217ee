-- Uploads of 1 MB, reported as report.lua does.
wrk.method = "POST"
wrk.body = string.rep("x", 1048576)
dofile("benches/report.lua")
