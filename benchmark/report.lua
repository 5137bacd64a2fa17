-- wrk prints one line that run.sh reads: requests, seconds, latencies in ms, errors.
-- Statuses are counted here since wrk itself calls 3xx fine.
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init()
    other = 0
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
    io.write(string.format("RESULT %d %.3f %.3f %.3f %.3f %.3f %d %d %d %d %d\n",
        summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
        latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3,
        other_than_2xx, e.connect, e.read, e.write, e.timeout))
end
