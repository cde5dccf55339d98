-- requests.lua: what wrk sends for tests/bench/httpd, and what it reports.
-- SPDX-License-Identifier: Apache-2.0
--
-- BENCH_METHOD is GET or POST. BENCH_KEYS is none, one, many or fresh:
-- without a key, always the same key, BENCH_MANY keys in turn, a new key
-- each time. BENCH_PREFIX tells one run's fresh keys from another's.

local method = os.getenv("BENCH_METHOD")
local keys = os.getenv("BENCH_KEYS")
local prefix = os.getenv("BENCH_PREFIX")
local many = tonumber(os.getenv("BENCH_MANY"))
local body = '{"amount": 4200}'
local threads = 0
local count = 0
local head, tail

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

-- The parts are put together once: a request costs the client as little as
-- can be, with a key and without one.
local function parts()
    local path = wrk.path
    head = method .. " " .. path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    tail = "\r\n"
    if method == "POST" then
        head = head .. "Content-Type: application/json\r\n"
            .. "Content-Length: " .. #body .. "\r\n"
        tail = "\r\n" .. body
    end
    if keys ~= "none" then
        head = head .. 'Idempotency-Key: "'
        tail = '"\r\n' .. tail
    end
    if keys == "one" then
        head = head .. "the-one-key-of-all"
    elseif keys == "many" then
        head = head .. "one-of-many-"
    elseif keys == "fresh" then
        head = head .. prefix .. "-" .. (id or 0) .. "-"
    end
end

function init(args)
    parts()
end

function request()
    if keys == "none" or keys == "one" then
        return head .. tail
    end
    count = count + 1
    if keys == "many" then
        return head .. (count % many) .. tail
    end
    return head .. count .. tail
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests,
        summary.duration, e.status,
        e.connect + e.read + e.write + e.timeout,
        latency:percentile(99)))
end
