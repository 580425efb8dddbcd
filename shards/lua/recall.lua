#!lua flags=no-writes
-- recall: say what campaigns of the shard have in common.
-- Atomic as any script is; nothing here depends on it.
--
-- KEYS[1] campaigns
-- ARGV[1...] ids of campaigns (fewer than 7,000)
-- returns their records in the same order, false for those that the shard does not have

return redis.call('HMGET', KEYS[1], unpack(ARGV))
