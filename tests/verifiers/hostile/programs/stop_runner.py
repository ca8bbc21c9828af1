# expect: contained
"""Stops the runner and starves it by priority."""
import os, signal, resource
os.kill(1, signal.SIGSTOP)
os.kill(1, signal.SIGINT)
for action in (lambda: os.setpriority(os.PRIO_PROCESS, 1, 19), lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0)),
               lambda: resource.prlimit(1, resource.RLIMIT_AS, (0, 0)), lambda: os.nice(-20), lambda: os.sched_setaffinity(1, {0}),
               lambda: os.setpriority(os.PRIO_USER, 0, 19), lambda: os.setpriority(os.PRIO_PGRP, 0, 19),
               lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))):
    try:
        action()
    except OSError:
        pass
print("contained")
