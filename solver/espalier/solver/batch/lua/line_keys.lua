-- KEYS are those of keys.py, Keys.line, and then the script's own.
local JOBS, WAITING, TURNS, BATCH_PREFIX, JOB_PREFIX = unpack(KEYS, 1, 5)
