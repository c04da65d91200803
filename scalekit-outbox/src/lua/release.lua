-- Lets go of a lane.
-- KEYS[1] the lane's owner in the group
-- ARGV[1] consumer
-- Returns 1 if it was this consumer's, else 0.
-- Atomic: another's ownership must not be deleted that begins between the look and the deletion.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
