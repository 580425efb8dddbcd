#!lua flags=allow-oom
-- release: give a shard up, so that the next member need not wait for the lease to lapse.
-- Atomic because only the holder's own lease may be deleted. The fence stays: it belongs to the shard's history.
--
-- KEYS[1] fence    KEYS[2] lease
-- ARGV[1] fence of the caller
-- returns 1, or 0: the shard has another holder

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
return 1
