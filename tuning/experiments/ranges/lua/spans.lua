-- spans: which of the jobs in a flow's ready list are ready. No verb: this stands ahead of each script.
--
-- A job keeps its position in the list until it is trimmed. Positions count from a zero of each flow's own, which
-- moves only when the record goes. A record is "base next", or "base next settled back" if there are such ranges:
--   base     position of the list's head         next    position from which on nothing was ever claimed
--   settled  ranges that are done and stand behind something that is not, "first:end," each
--   back     ranges that were claimed, or put in front, and are ready
-- What is between base and next and in neither of these is in somebody's hands; the claims say whose. Where base and
-- next are the same there is no record, and all of the list is ready.

local function ranges_of(text)
  local ranges = {}
  if text == '' then
    return ranges
  end
  for first, past in string.gmatch(text, '(%-?%d+):(%-?%d+),') do
    ranges[#ranges + 1] = {tonumber(first), tonumber(past)}
  end
  return ranges
end

local function record_of(text)
  if not text then
    return {base = 0, next = 0, settled = {}, back = {}}
  end
  -- most have no ranges, and finding none costs as much as the rest
  local base, following, settled = string.match(text, '^(%S+) (%S+)(.*)$')
  local back
  if settled ~= '' then
    settled, back = string.match(settled, '^ (%S*) (%S*)$')
  end
  return {base = tonumber(base), next = tonumber(following),
    settled = ranges_of(settled), back = ranges_of(back or '')}
end

local function spelled_ranges(ranges)
  local text = ''
  for _, range in ipairs(ranges) do
    text = text .. string.format('%d:%d,', range[1], range[2])
  end
  return text
end

-- nil if there is nothing to remember
local function spelled_record(record)
  if record.base == record.next then
    return nil
  end
  if #record.settled == 0 and #record.back == 0 then
    return string.format('%d %d', record.base, record.next)
  end
  return string.format('%d %d %s %s', record.base, record.next,
    spelled_ranges(record.settled), spelled_ranges(record.back))
end

local function ready_in(record, length)
  local ready = length - (record.next - record.base)
  for _, range in ipairs(record.back) do
    ready = ready + range[2] - range[1]
  end
  return ready
end

-- ranges are in order, and none touches the next
local function add_range(ranges, first, past)
  local at = #ranges
  while at > 0 and ranges[at][1] > first do
    at = at - 1
  end
  at = at + 1
  table.insert(ranges, at, {first, past})
  if ranges[at + 1] and ranges[at + 1][1] == past then
    ranges[at][2] = ranges[at + 1][2]
    table.remove(ranges, at + 1)
  end
  if at > 1 and ranges[at - 1][2] == first then
    ranges[at - 1][2] = ranges[at][2]
    table.remove(ranges, at)
  end
end

local function settle_range(record, first, past)
  if first == record.base then
    record.base = past
  else
    add_range(record.settled, first, past)
  end
  while record.settled[1] and record.settled[1][1] == record.base do
    record.base = table.remove(record.settled, 1)[2]
  end
end

local function give_back(record, first, past)
  add_range(record.back, first, past)
  local last = record.back[#record.back]
  if last[2] == record.next then
    record.next = last[1]
    table.remove(record.back)
  end
end
