"""Signals that ask to end, as exceptions: running conversions are dropped, finished ones recorded.

Job systems send SIGTERM before they kill a process, or what the user chose, mostly SIGUSR1 or
SIGUSR2 (``sbatch --signal``, ``qsub -notify``); the system sends SIGXCPU when processor time runs
out; SIGHUP comes when the terminal is closed.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from voxarray.core.exit_codes import STOPPED


class Stopped(KeyboardInterrupt):
    """The process was asked to end; like Ctrl-C, ``except Exception`` does not catch it."""


ASKED_TO_END = "the process was asked to end"
"""Why a run stopped that got a signal."""


def interrupt_in(
    error: BaseException | None, handled: BaseException | None
) -> type[KeyboardInterrupt] | None:
    """Kind of the interrupt that an error is, or that it hides; None if nobody interrupted.

    Cleaning up after an interrupt may fail, as syncing the last names does. Python then raises that
    failure, and keeps the interrupt as its context.

    Args:
        error: What ended the run.
        handled: What was being handled when the run began: a script may call us because of an
            interrupt, which is over.
    """
    seen = set[int]()
    while error is not None and error is not handled and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return type(error)
        seen.add(id(error))
        error = error.__context__
    return None


class EndedBySignal(SystemExit):
    """A signal asked the process to end, and what was done is recorded; exits with `STOPPED`.

    Args:
        message: What was done, and how to go on.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = STOPPED  # an exit code that were a text would count as 1


def let_go_on(
    interrupt: type[KeyboardInterrupt], message: str, cause: Exception | None = None
) -> NoReturn:
    """End the process, as somebody asked, after a run has recorded what it did.

    Nothing that catches errors catches this: a script would otherwise go on with part of a cohort.

    Args:
        interrupt: What ended the run.
        message: What was done, and how to go on.
        cause: An error that came after it, if one did.

    Raises:
        KeyboardInterrupt: If it was Ctrl-C. If it was another signal, and this call is part of
            another run, that ends with `Stopped`.
        EndedBySignal: If it was another signal.
    """
    if not issubclass(interrupt, Stopped):
        raise KeyboardInterrupt(message) from cause
    if _current is not None and threading.current_thread() is threading.main_thread():
        raise Stopped(message) from cause
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # closed, as that of a job whose terminal is gone
            # Python says nothing when such an exception ends a process.
            sys.stderr.write(f"stopped: {message}\n")
            sys.stderr.flush()
    raise EndedBySignal(message) from cause


@contextmanager
def stoppable() -> Iterator[None]:
    """Signals raise `Stopped` in the body; once, so that cleaning up is not interrupted.

    Signals that ``nohup`` ignores stay ignored, and those that programs use for ends of their own
    (SIGUSR1, SIGUSR2, SIGXCPU) stay with a handler that the process has for them. In threads other
    than the main one, where Python allows no handlers, nothing changes. Nor does it in another
    body of this: after the first signal, whoever is outermost writes the catalogue undisturbed.
    """
    global _current
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _current is not None:
        with _later_ones_ignored():
            yield
        return
    before: dict[int, Any] = {}
    received: list[int] = []
    for number in [*_ASKING, *(one for one in _OF_JOBS if _is_free(one))]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.getsignal(number)

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise Stopped

    try:
        _current = before
        for number in before:
            signal.signal(number, stop)
        with _later_ones_ignored():
            yield
    finally:
        _current = None
        for number, handler in before.items():
            # The system repeats it each second of processor time, and kills at the hard limit:
            # with its default, the next one would end the process before the catalogue is written.
            if number not in received or number != _REPEATED:
                if _ignored is not None and number in _ignored:
                    _ignored[number] = handler
                else:
                    signal.signal(number, handler)


_current: dict[int, Any] | None = None
"""Handlers of before, while the main thread is in the body of `stoppable`."""

_ignored: dict[int, Any] | None = None
"""Handlers that `undisturbed_once_asked` puts back, while the main thread is in its body."""


@contextmanager
def undisturbed_once_asked() -> Iterator[None]:
    """After an interrupt in a `stoppable` of the body, later ones are ignored until the body ends.

    Otherwise they would end the process while it records what is done: who is impatient presses
    Ctrl-C again, and job systems repeat their signals.
    """
    global _ignored
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer, _ignored = _ignored, {}
    try:
        yield
    finally:
        mine, _ignored = _ignored, outer
        for number, handler in mine.items():
            signal.signal(number, handler)


@contextmanager
def _later_ones_ignored() -> Iterator[None]:
    """If an interrupt ends the body, ignore all others as `undisturbed_once_asked` says."""
    handled = sys.exc_info()[1]
    try:
        yield
    except BaseException as error:
        if _ignored is not None and interrupt_in(error, handled) is not None:
            for number in (signal.SIGINT, *(_current or ())):
                handler = signal.getsignal(number)
                # Who handles Ctrl-C in another way than Python is not ended by it.
                is_own = number == signal.SIGINT and handler is not signal.default_int_handler
                if not is_own and number not in _ignored:
                    _ignored[number] = handler
                    signal.signal(number, signal.SIG_IGN)
        raise


def _known(*names: str) -> list[int]:
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


_ASKING = _known("SIGTERM", "SIGHUP")
_OF_JOBS = _known("SIGUSR1", "SIGUSR2", "SIGXCPU")
_REPEATED = getattr(signal, "SIGXCPU", None)


def _is_free(number: int) -> bool:
    """Whether nobody in this process handles a signal, whose default is to end the process."""
    return signal.getsignal(number) is signal.SIG_DFL and not _caught() >> (number - 1) & 1


def _caught() -> int:
    """Signals with a handler, a bit each; 0 where the system does not tell.

    Python knows nothing of handlers that were installed in C, as `faulthandler.register` does.
    """
    with suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16)
    return 0
