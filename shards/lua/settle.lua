#!lua flags=allow-oom
-- settle: forget a claim, after each of its jobs has met its fate.
-- Atomic because the fates of a claim are written together with its end: a job that must be tried again starts to
-- wait in the same step in which the claim stops holding it. Jobs that still wait for their fate may be carried over
-- into another claim, so that one slow answer does not keep all the others. The elements of campaigns that the claim had
-- are counted off, whatever became of their pushes, and a record goes with the last of them. A second settle of the same claim does
-- nothing, so an unanswered one may be repeated.
--
-- KEYS[1] fence    KEYS[2] claims    KEYS[3] the claim    KEYS[4] waiting    KEYS[5] dead
-- KEYS[6] dead tokens    KEYS[7] the claim that takes over the rest    KEYS[8] campaigns    KEYS[9] left
-- ARGV[1] fence of the caller    ARGV[2] claim id    ARGV[3] length of either stream, at most (about)
-- ARGV[4] id of the claim that takes over the rest, '' if there is no rest    ARGV[5] number of lines of the rest, then
--   these, as a claim holds them
-- ARGV[...] number of campaigns, then for each: its id, how many elements of it there were
-- ARGV[...] number of jobs to try again, then for each: due time in Unix ms, "lane|flow|job"
-- ARGV[...] then for each buried job: tenant, reason, time in Unix ms, job, lane, status, APNs' timestamp in Unix ms,
--   attempts, time of admission in Unix ms, and its device token, topic and environment if that token is dead, else ''
-- returns 1 settled, 0 settled before, -1 the caller's fence is not the shard's

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
if redis.call('SREM', KEYS[2], ARGV[2]) == 0 then
  return 0
end
redis.call('DEL', KEYS[3])

local after_rest = 6 + tonumber(ARGV[5])
if ARGV[4] ~= '' then
  redis.call('SADD', KEYS[2], ARGV[4])
  redis.call('RPUSH', KEYS[7], unpack(ARGV, 6, after_rest - 1))
end
local retries = after_rest + 1 + 2 * tonumber(ARGV[after_rest])
for i = after_rest + 1, retries - 1, 2 do
  if redis.call('HINCRBY', KEYS[9], ARGV[i], -tonumber(ARGV[i + 1])) <= 0 then
    redis.call('HDEL', KEYS[9], ARGV[i])
    redis.call('HDEL', KEYS[8], ARGV[i])
  end
end
local first_dead = retries + 1 + 2 * tonumber(ARGV[retries])
for i = retries + 1, first_dead - 1, 2 do
  redis.call('ZADD', KEYS[4], ARGV[i], ARGV[i + 1])
end
for i = first_dead, #ARGV, 12 do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[3], '*',
    'tenant', ARGV[i], 'reason', ARGV[i + 1], 'at_ms', ARGV[i + 2], 'job', ARGV[i + 3], 'lane', ARGV[i + 4],
    'status', ARGV[i + 5], 'timestamp_ms', ARGV[i + 6], 'attempts', ARGV[i + 7], 'admitted_ms', ARGV[i + 8])
  if ARGV[i + 9] ~= '' then
    redis.call('XADD', KEYS[6], 'MAXLEN', '~', ARGV[3], '*',
      'tenant', ARGV[i], 'token', ARGV[i + 9], 'topic', ARGV[i + 10], 'environment', ARGV[i + 11],
      'reason', ARGV[i + 1], 'timestamp_ms', ARGV[i + 6])
  end
end
return 1
