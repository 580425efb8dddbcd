#!lua flags=allow-oom
-- trim: forget what has lain among the dead for long.
-- Atomic as any script is; nothing here depends on it.
--
-- KEYS[1] dead    KEYS[2] dead tokens
-- ARGV[1] forget what was written before this time, in Unix ms
-- returns how many entries are gone

return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1]) + redis.call('XTRIM', KEYS[2], 'MINID', ARGV[1])
