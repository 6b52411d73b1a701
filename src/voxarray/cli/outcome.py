"""How commands end: what failed is said, and the exit code counts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from voxarray.cli.console import Console, console, end_of_pipe
from voxarray.core.errors import VoxarrayError
from voxarray.core.exit_codes import NOTHING_DONE, SOME_FAILED, STOPPED
from voxarray.storage.remote.address import Address, is_url

_PAUSE = 0.05
"""Seconds until a dropped Ctrl-C comes again: by then the callback, and its hook, have ended."""


@contextmanager
def interrupts_heard() -> Iterator[None]:
    """Let a Ctrl-C that Python would drop, with a traceback, come again a moment later.

    The exceptions of weak references' callbacks and of ``__del__`` go to `sys.unraisablehook` and
    nowhere else. Each import has such a callback, so that a command that still imports may lose
    the interrupt. What another signal has raised, as `voxarray.cohort.run.interrupts` does, comes
    again as a Ctrl-C, even where that is ignored, as in the background jobs of scripts.
    """
    before, ignored = sys.unraisablehook, list[Any]()

    def hear(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        # Imported here, since few commands are interrupted at all.
        import signal
        from threading import Timer

        handler = signal.getsignal(signal.SIGINT)
        if handler in (signal.SIG_IGN, signal.SIG_DFL):
            ignored.append(handler)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        again = Timer(_PAUSE, _interrupt)
        again.daemon = True
        again.start()

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = before
        if ignored:
            import signal

            signal.signal(signal.SIGINT, ignored[0])


def _interrupt() -> None:
    """Interrupt the main thread, also while it waits for another one, if the system can do that."""
    import signal
    import threading

    main = threading.main_thread().ident
    if sys.platform == "win32" or main is None:
        from _thread import interrupt_main

        interrupt_main()
    else:
        signal.pthread_kill(main, signal.SIGINT)


@dataclass(slots=True)
class Outcome:
    """Counts what went well and what did not.

    Attributes:
        done: Files that went well.
        failed: Files that did not.
        console: Where it is said.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: Console = field(default_factory=console)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Work on one file; an error is told and counted, and the rest goes on.

        Ours, or the system's (no permission, a disk that fails); any other is a fault of voxarray
        and ends the command.
        """
        try:
            yield
        except (VoxarrayError, OSError) as error:
            self.fail(name, error)
        else:
            self.done.append(name)

    def fail(self, name: str, error: Exception) -> None:
        """Tell and count a failure."""
        name = path_without_secrets(name)
        self.failed.append(name)
        self.console.document.setdefault("failed", []).append(failure(name, error))
        self.console.complain(f"{name}: {_named(error)}")

    def exit(self, nothing: str = "nothing to do: no image was found") -> NoReturn:
        """End the process: 0 all good, 3 some failed, 1 nothing done.

        Args:
            nothing: What is said if there was nothing.
        """
        if not self.done and not self.failed:
            self.console.complain(nothing)
        if len(self.failed) + len(self.done) > 1 and self.failed:
            self.console.complain(
                f"{len(self.failed)} of {len(self.failed) + len(self.done)} failed"
            )
        bad = SOME_FAILED if self.done else NOTHING_DONE
        self.console.finish(bad if self.failed or not self.done else 0)


def path_without_secrets(name: str) -> str:
    """What may be shown of a path or URL that was given: no password and no query."""
    if not is_url(name):
        return name
    try:
        return Address.parse(name).shown
    except VoxarrayError:  # no URL, whatever it is
        return name.partition("://")[0] + "://..."


@contextmanager
def fatal() -> Iterator[None]:
    """An error of ours or the system's ends the process with `NOTHING_DONE`."""
    try:
        yield
    except (VoxarrayError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            end_of_pipe()
        talk = console()
        talk.complain(str(error))
        talk.document["error"] = failure(getattr(error, "path", None) or "", error)
        talk.finish(NOTHING_DONE)


@contextmanager
def told_when_stopped(destination: str) -> Iterator[None]:
    """Whoever is asked to end by a signal or Ctrl-C says so, and exits with `STOPPED`.

    Args:
        destination: A file, an archive or a cohort, which may be there already.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        state = f"{destination} was not made"
        if is_url(destination) or os.path.lexists(os.path.expanduser(destination)):
            shown = path_without_secrets(destination)
            state = f"work on {shown} is not finished; what exists there is kept"
        # What then went wrong, as recording what is done on a full disk.
        why = f" ({_named(cause)})" if isinstance(cause := interrupt.__cause__, Exception) else ""
        console().complain(f"stopped: {state}{why}; run the same command again to resume")
        sys.exit(STOPPED)


def failure(name: str, error: Exception) -> dict[str, Any]:
    """A failure as JSON says it."""
    if isinstance(error, VoxarrayError):
        return {"path": name, "code": error.code, "message": error.message}
    if isinstance(error, OSError):
        return {"path": name, "code": "IO_ERROR", "message": str(error)}
    return {"path": name, "code": "UNEXPECTED", "message": _named(error)}


def _named(error: Exception) -> str:
    """An error in words; one that is neither ours nor the system's may say nothing itself."""
    if isinstance(error, VoxarrayError | OSError):
        return str(error)
    return f"{type(error).__name__}: {error}"
