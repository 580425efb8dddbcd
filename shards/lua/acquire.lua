#!lua flags=allow-oom
-- acquire: take a shard over from whoever held it.
-- Atomic as any script is; the fence only ever grows, so an earlier holder can neither claim nor settle any more.
--
-- KEYS[1] fence
-- ARGV none
-- returns the new fence

return redis.call('INCR', KEYS[1])
