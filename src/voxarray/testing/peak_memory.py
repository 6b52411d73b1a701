"""What a piece of code costs in a fresh process: peak memory above its imports, and time.

Linux tells the peak of a process's resident memory (``VmHWM``) and lets it be reset (writing 5 to
``/proc/self/clear_refs``), so the peak of a statement is exact however short it lasts: imports
run first, the peak is reset, the statement runs, the peak is read. A fresh process is needed
because an allocator that has grown once may serve later requests without growing again.

Resident memory includes mapped files, which the kernel can take back at any time. Anonymous memory
(``RssAnon``) does not include them. The kernel does not keep the peak of anonymous memory, so it is
sampled from outside, and may miss what lasts less than `SAMPLING_SECONDS`.

glibc gives threads arenas of their own that keep what was freed, so peaks of threaded code vary
with ``MALLOC_ARENA_MAX``. It is passed on as it is set, and reported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxarray.core.errors import StateError

SAMPLING_SECONDS = 0.005

# Composed with the two pieces of code into one program, rather than given them as data to
# execute. Standard library only: it also measures other libraries in their own environments.
_PROGRAM = """
import gc as _gc, json as _json, os as _os, time as _time

def _memory():
    with open("/proc/self/status") as status:
        rows = dict(line.split(":", 1) for line in status)
    return {{name: int(rows[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS", "RssAnon")}}

def _report(**facts):
    _os.write({pipe}, (_json.dumps(facts) + "\\n").encode())

result = None
{setup}
_gc.collect()
with open("/proc/self/clear_refs", "w") as _file:
    _file.write("5")
_before = _memory()
_report(anonymous=_before["RssAnon"])
_cpu, _start = _time.process_time(), _time.perf_counter()
{statement}
_seconds, _cpu = _time.perf_counter() - _start, _time.process_time() - _cpu
_report(bytes=_memory()["VmHWM"] - _before["VmRSS"], imports=_before["VmRSS"],
        seconds=_seconds, cpu_seconds=_cpu, result=result)
"""


@dataclass(frozen=True, slots=True)
class Peak:
    """Cost of a statement.

    Attributes:
        bytes: Peak resident memory above that of the imports.
        anonymous: The part of it that no file backs, sampled.
        imports: Resident memory when the statement began.
        seconds: Wall time of the statement.
        cpu_seconds: Time that all threads of the process computed.
        arena_max: ``MALLOC_ARENA_MAX`` of the process; None if it was not set.
        result: What the statement assigned to ``result``, if anything; JSON values only.
    """

    bytes: int
    anonymous: int
    imports: int
    seconds: float
    cpu_seconds: float
    arena_max: str | None
    result: Any = None


def can_measure() -> bool:
    """Whether this system tells and resets peaks: Linux does."""
    return os.access("/proc/self/clear_refs", os.W_OK)


def peak_above_imports(
    setup: str,
    statement: str,
    *,
    python: str | os.PathLike[str] = sys.executable,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Peak:
    """Run code in a fresh process, and measure its peak memory and its time.

    Memory of child processes that the statement starts is not counted.

    Examples:
        >>> setup = "import numpy"
        >>> peak = vx.testing.peak_above_imports(setup, "numpy.ones(8 << 20)")
        >>> peak.bytes >= 60 << 20
        True

    Args:
        setup: Python source that runs before the measurement: imports, as a rule.
        statement: Python source that is measured; it may assign to ``result``.
        python: Interpreter to run it with; needs no voxarray.
        environment: Variables to set besides those of this process.
        timeout: Seconds after which the process is killed; None for as long as it takes.

    Returns:
        A `Peak`: ``bytes`` is the peak of memory above that of the imports, ``seconds`` the time,
        and ``result`` what the statement assigned to ``result``.

    Raises:
        StateError: If the code fails (the message holds what it printed), takes too long, or the
            system cannot measure.
    """
    if not can_measure():
        raise StateError(
            "peaks are read from Linux's /proc, which this system does not have", code="NO_PROC"
        )
    environ = {**os.environ, **(environment or {})}
    reader, writer = os.pipe()
    program = _PROGRAM.format(setup=setup, statement=statement, pipe=writer)
    with tempfile.TemporaryFile("w+") as printed, os.fdopen(reader) as reports:
        process = subprocess.Popen(  # noqa: S603  # runs the caller's own code, by request
            [os.fspath(python), "-P", "-c", program],
            env=environ,
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        os.close(writer)  # so that reading ends when the child's copy is closed
        baseline = json.loads(reports.readline() or "{}")
        anonymous = _sampled_peak(process, timeout)
        costs = json.loads(reports.readline() or "{}")
        if process.returncode != 0 or not costs:
            printed.seek(0)
            raise StateError(
                f"the measured code ended with {process.returncode}:\n{printed.read()[-4000:]}",
                code="CHILD_FAILED",
            )
    return Peak(
        anonymous=max(0, anonymous - baseline["anonymous"]),
        arena_max=environ.get("MALLOC_ARENA_MAX"),
        **costs,
    )


def _sampled_peak(process: subprocess.Popen[Any], timeout: float | None) -> int:
    """Wait for the process; largest anonymous memory, in bytes, that it was seen with."""
    deadline = None if timeout is None else time.monotonic() + timeout
    peak = 0
    while process.poll() is None:
        peak = max(peak, _anonymous(process.pid))
        if deadline is not None and time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StateError(f"the measured code took more than {timeout} s", code="TIMEOUT")
        time.sleep(SAMPLING_SECONDS)
    return peak


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has just ended
        return 0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
