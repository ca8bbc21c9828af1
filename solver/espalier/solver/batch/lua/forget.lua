-- ARGV: how many at most. Takes what Redis has forgotten from its callers, and returns how much of it there was.
return forget(ARGV[1])
