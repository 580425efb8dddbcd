#!lua flags=allow-oom
-- claim: move up to `want` ready jobs into a claim and return them.
-- Atomic because a job is in exactly one place: it leaves its ready list and joins the claim in one step, and a
-- worker that lost the shard takes nothing.
--
-- Flows are served in turn, by deficit round robin (Shreedhar and Varghese, 1995): a turn is `quantum` jobs times the
-- flow's weight, and each flow has one turn at most in a claim, so a worker that claims from many shards in turn is
-- fair across them too. A turn that the end of the claim interrupts is finished in the next. A flow that may give
-- nothing now (its lane is paused, its rate is spent, the caller has no room for it) is set aside while the ring is
-- walked, so that it costs one step and holds up nobody.
--
-- The high lane is served first. While it has more to give, the low lane gets `low_share` of what is taken, and what
-- fractions it is owed are remembered. Where a flow has jobs in both, that goes for the room that there is for it, too.
--
-- KEYS[1] fence    KEYS[2] ring of the high lane    KEYS[3] ring of the low lane
-- KEYS[4] claims   KEYS[5] the new claim (claims key, colon, claim id)    KEYS[6] unrung
-- KEYS[7] depth    KEYS[8] rules    KEYS[9] budgets    KEYS[10] turns
-- ARGV[1] fence of the caller     ARGV[2] claim id     ARGV[3] want (fewer than 3,900)
-- ARGV[4] quantum                 ARGV[5] low_share    ARGV[6...] flow, jobs of it that the caller has room for; repeated
-- returns {state, run...}: state -1 the caller's fence is not the shard's, 0 more jobs are ready,
--   1 nothing is left that the caller could take and the shard is asleep, above 1 the same, but in so many ms
--   a flow whose rate is spent has another job to give;
--   each run is "lane|flow|count" followed by so many jobs

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {-1}
end

-- flows of a ring that are read at once
local PIECE = 32
local want, quantum, low_share = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local rooms = {}
for i = 6, #ARGV, 2 do
  rooms[ARGV[i]] = tonumber(ARGV[i + 1])
end
local has_rules = redis.call('EXISTS', KEYS[8]) == 1
local now_ms
local again_ms
-- the reply: the state, then the lines of the claim, `lines` in all
local reply = {0}
local lines = 1
local taken = 0

-- weight, rate in jobs a second (0: any), lane that is paused
local function parts_of(rule)
  if not rule then
    return 1, 0, 'none'
  end
  local weight, per_s, paused = string.match(rule, '^(%S+) (%S+) (%S+)$')
  return tonumber(weight) or 1, tonumber(per_s) or 0, paused
end

-- Whole numbers as text: Lua and Redis write them as if they had fractions, which costs more than some of the calls.
local spelled = {}
local function spell(number)
  local text = spelled[number]
  if not text then
    text = string.format('%d', number)
    spelled[number] = text
  end
  return text
end

-- what a flow may send now by its rate: a bucket that holds a quarter of a second's worth
local function budget_of(flow, per_s)
  if not now_ms then
    local clock = redis.call('TIME')
    now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
  end
  local full = math.max(1, per_s / 4)
  local jobs, at_ms = string.match(redis.call('HGET', KEYS[9], flow) or '', '^(%S+) (%S+)$')
  local budget = jobs and math.min(full, jobs + math.max(0, now_ms - at_ms) * per_s / 1000) or full
  if jobs and now_ms < tonumber(at_ms) then
    -- the clock was set back: counted from now, or the flow would rest until it is there again
    redis.call('HSET', KEYS[9], flow, string.format('%.6f %d', budget, now_ms))
  end
  if budget < 1 then
    local wait_ms = math.ceil((1 - budget) * 1000 / per_s)
    again_ms = math.max(2, math.min(again_ms or wait_ms, wait_ms))
  end
  return budget
end

-- The ring is read in pieces and written once, when the claim is over: a flow with few jobs costs one call and not
-- three. `walked` flows have had their turn; those among them with more to give are in `later` or `aside`.
local function lane_of(name, ring, turn)
  local flow, credit = string.match(turn or '', '^(%S+) (%d+)$')
  return {name = name, ring = ring, length = redis.call('LLEN', ring), walked = 0, later = {}, aside = {},
    had_turn = turn, flow = flow, credit = tonumber(credit), flows = {}, rules = {}, before = 0}
end

-- the flow whose turn it is, and its rule
local function next_of(lane)
  local place = lane.walked - lane.before + 1
  if place > #lane.flows then
    lane.before, place = lane.walked, 1
    lane.flows = redis.call('LRANGE', lane.ring, lane.walked, lane.walked + PIECE - 1)
    lane.rules = has_rules and redis.call('HMGET', KEYS[8], unpack(lane.flows)) or {}
  end
  return lane.flows[place], lane.rules[place]
end

-- flows that could be taken from at once
local function left_in(lane)
  return lane.length - lane.walked + #lane.later
end

local high, low, owed
local shares_room = false

-- how much of a flow's room its high lane leaves to its low lane: no more than that has to give, or both would rest
local function kept_for_low(flow, room, paused)
  if room == math.huge or low.length == 0 or paused == 'low' then
    return 0
  end
  local has = redis.call('LLEN', low.ring .. ':' .. flow)
  shares_room = shares_room or has > 0
  return math.min(has, room, math.floor(owed + room * low_share))
end

local function serve(lane, limit)
  while taken < limit and lane.walked < lane.length do
    local flow, rule = next_of(lane)
    lane.walked = lane.walked + 1
    local weight, per_s, paused = parts_of(rule)
    local room = rooms[flow] or math.huge
    if paused == lane.name or paused == 'both' then
      room = 0
    end
    local budget
    if room > 0 and per_s > 0 then
      budget = budget_of(flow, per_s)
      room = math.min(room, math.floor(budget))
    end
    if lane == high and room > 0 then
      room = room - kept_for_low(flow, room, paused)
    end
    local credit = quantum * weight
    if lane.flow == flow then
      credit = lane.credit
    end
    lane.flow = nil
    if room < 1 then
      lane.aside[#lane.aside + 1] = flow
    else
      local portion = math.min(credit, room, limit - taken)
      local ready = lane.ring .. ':' .. flow
      -- no list at all: someone deleted it by hand; to fail here would lose the jobs taken so far
      local jobs = redis.call('LPOP', ready, spell(portion)) or {}
      local count = #jobs
      if count > 0 then
        reply[lines + 1] = lane.name .. '|' .. flow .. '|' .. spell(count)
        for i = 1, count do
          reply[lines + 1 + i] = jobs[i]
        end
        lines = lines + 1 + count
        taken = taken + count
      end
      if rooms[flow] then
        rooms[flow] = rooms[flow] - count
      end
      if budget then
        redis.call('HSET', KEYS[9], flow, string.format('%.6f %d', budget - count, now_ms))
      end
      if count == portion and redis.call('EXISTS', ready) == 1 then
        if portion == credit then
          lane.later[#lane.later + 1] = flow
        elseif portion == room then
          lane.aside[#lane.aside + 1] = flow
          if budget then
            budget_of(flow, per_s)
          end
        else
          lane.walked = lane.walked - 1
          lane.flow, lane.credit = flow, credit - count
        end
      end
    end
  end
end

local function push(ring, flows)
  for first = 1, #flows, 4000 do
    -- Lua's unpack takes fewer than 8,000 values
    redis.call('RPUSH', ring, unpack(flows, first, math.min(first + 3999, #flows)))
  end
end

-- Those that were walked go behind the others, as far as they have more to give.
local function turn_ring(lane)
  if lane.walked == 0 or #lane.later == lane.length or #lane.aside == lane.length then
    -- as it was
    return
  end
  redis.call('LTRIM', lane.ring, lane.walked, -1)
  push(lane.ring, lane.later)
  push(lane.ring, lane.aside)
end

local turns = redis.call('HMGET', KEYS[10], 'high', 'low', 'owed')
high, low = lane_of('high', KEYS[2], turns[1]), lane_of('low', KEYS[3], turns[2])
-- a little more than is owed, since thirds add up to less than one
owed = (tonumber(turns[3]) or 0) + 1e-6
-- no more than the low lane is owed when the high lane has the rest: what is kept beyond that would go back to the high
-- lane, and be counted for neither
local reserved = low.length > 0 and math.min(want, math.floor(owed * (1 - low_share) + want * low_share)) or 0
serve(high, want - reserved)
local of_high = taken
local more = low.length > 0 and left_in(high) > 0
if more or shares_room then
  owed = math.min(want, owed + (low_share < 1 and of_high * low_share / (1 - low_share) or want))
  serve(low, more and math.min(want, of_high + math.floor(owed)) or want)
  owed = math.max(0, owed - (taken - of_high))
  serve(high, want)
else
  owed = 0
  serve(low, want)
end

if taken > 0 then
  redis.call('SADD', KEYS[4], ARGV[2])
  redis.call('RPUSH', KEYS[5], unpack(reply, 2, lines))
  redis.call('DECRBY', KEYS[7], taken)
end
if left_in(high) == 0 and left_in(low) == 0 then
  redis.call('SET', KEYS[6], 'asleep')
  reply[1] = again_ms or 1
else
  redis.call('SET', KEYS[6], 'awake')
end
for _, lane in ipairs({high, low}) do
  turn_ring(lane)
  local turn = lane.flow and lane.flow .. ' ' .. lane.credit
  if turn then
    redis.call('HSET', KEYS[10], lane.name, turn)
  elseif lane.had_turn then
    redis.call('HDEL', KEYS[10], lane.name)
  end
end
if owed > 1e-5 then
  redis.call('HSET', KEYS[10], 'owed', string.format('%.6f', owed))
elseif turns[3] then
  redis.call('HDEL', KEYS[10], 'owed')
end
return reply
