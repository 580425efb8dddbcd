#!lua flags=allow-oom
-- settle: forget a claim, after each of its jobs has met its fate.
-- Atomic because the fates of a claim are written together with its end: a job that must be tried again starts to
-- wait in the same step in which the claim stops holding it. A second settle of the same claim does nothing, so an
-- unanswered one may be repeated.
--
-- KEYS[1] fence    KEYS[2] claims    KEYS[3] the claim    KEYS[4] waiting    KEYS[5] dead
-- ARGV[1] fence of the caller    ARGV[2] claim id    ARGV[3] length of the dead stream, at most (about)
-- ARGV[4] number of jobs to try again, then for each: due time in Unix ms, "lane|tenant|job"
-- ARGV[...] then for each buried job: tenant, reason, time in Unix ms, job
-- returns 1 settled, 0 settled before, -1 the caller's fence is not the shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if redis.call('SREM', KEYS[2], ARGV[2]) == 0 then
  return 0
end
redis.call('DEL', KEYS[3])

local first_dead = 5 + 2 * tonumber(ARGV[4])
for i = 5, first_dead - 1, 2 do
  redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 1])
end
for i = first_dead, #ARGV, 4 do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[3], '*',
    'tenant', ARGV[i], 'reason', ARGV[i + 1], 'at_ms', ARGV[i + 2], 'job', ARGV[i + 3])
end
return 1
