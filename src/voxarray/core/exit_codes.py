"""Exit codes of the command line, which also stand in scripts for job schedulers.

0 means that all is good; 2, which click uses, a call that makes no sense.
"""

from __future__ import annotations

NOTHING_DONE = 1
SOME_FAILED = 3
STOPPED = 75
"""Asked to end, and the rest is good: ``EX_TEMPFAIL`` of sysexits.h, run it again."""

INTERRUPTED = 130
"""What a shell says of a process that Ctrl-C ended: 128 and SIGINT."""

KILLED = 137
"""What a shell says of a process that was killed: 128 and SIGKILL."""

CLOSED_PIPE = 141
"""What a shell says of a process that ended because nobody read on: 128 and SIGPIPE."""

TERMINATED = 143
"""What a shell says of a process that SIGTERM ended before Python was ready: 128 and SIGTERM."""
