#!lua flags=no-writes
-- seek: look for a tenant's jobs in a piece of those that wait in the shard for another try.
-- Atomic as any script is; whatever waits from the first piece to the last is in one of them.
--
-- KEYS[1] waiting
-- ARGV[1] where the piece begins: 0, then what was returned    ARGV[2] how many jobs are looked at (about)
-- ARGV[3...] flows
-- returns {where the next piece begins, '0' after the last, jobs of these flows in this one}

local ours = {}
for i = 3, #ARGV do
  ours[ARGV[i]] = true
end
local piece = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local found = 0
for i = 1, #piece[2], 2 do
  -- "lane|flow|job", and the time when it is due
  if ours[string.match(piece[2][i], '^[^|]*|([^|]*)|')] then
    found = found + 1
  end
end
return {piece[1], found}
