-- Run by load.py. Statuses are counted here since wrk itself calls 3xx fine; `done` prints one line:
-- requests, seconds, latencies in ms, errors.
-- With an argument N the requests go to N routes in an order that looks like chance (scenarios/routes.py).
local threads = {}
local SAMPLE = 4096

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    other = 0
    local routes = tonumber(args[1])
    if not routes then
        return
    end
    local requests, turn = {}, 0
    for number = 1, SAMPLE do
        local route = (number * 7919) % routes
        requests[number] = wrk.format("GET", string.format("/api/v%d/service-%d/hello/world", route % 7, route))
    end
    request = function()
        turn = turn % SAMPLE + 1
        return requests[turn]
    end
end

function response(status)
    if status < 200 or status > 299 then
        other = other + 1
    end
end

function done(summary, latency)
    local other_than_2xx = 0
    for _, thread in ipairs(threads) do
        other_than_2xx = other_than_2xx + thread:get("other")
    end
    local e = summary.errors
    io.write(string.format("RESULT %d %.6f %.3f %.3f %d %d\n",
        summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        other_than_2xx, e.connect + e.read + e.write + e.timeout))
end
