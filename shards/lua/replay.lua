#!lua
-- replay: make a dead letter a ready job again.
-- Atomic because a job is in exactly one place: it leaves the dead in the step in which it is ready. A second replay
-- of the same letter does nothing. Like enqueue it is refused while Redis is out of memory: whole, as the first line
-- has it, since a script without one is only refused its first command, and to take a letter away needs no memory.
--
-- KEYS[1] dead      KEYS[2] ring of the lane    KEYS[3] ready list of the flow (ring key, colon, flow)
-- KEYS[4] unrung    KEYS[5] bell (a channel; declared for its hash tag)    KEYS[6] deaths
-- KEYS[7] depth
-- ARGV[1] entry of the stream    ARGV[2] flow    ARGV[3] job, as it is to be tried    ARGV[4] id of the job
-- returns 1, or 0: there is no such letter any more

if redis.call('XDEL', KEYS[1], ARGV[1]) == 0 then
  return 0
end
-- whoever sends poison again means it
redis.call('HDEL', KEYS[6], ARGV[4])
if redis.call('RPUSH', KEYS[3], ARGV[3]) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[2])
end
redis.call('INCR', KEYS[7])
if redis.call('DEL', KEYS[4]) == 1 then
  redis.call('PUBLISH', KEYS[5], '')
end
return 1
