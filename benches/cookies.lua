-- A request with another cookie each time, from the file that COOKIES names; reported as report.lua does.
local cookies = {}
for line in io.lines(os.getenv("COOKIES")) do cookies[#cookies + 1] = line end
local next = 0
function request()
    next = next % #cookies + 1
    wrk.headers["Cookie"] = cookies[next]
    return wrk.format("GET", "/private/x")
end
dofile("benches/report.lua")
