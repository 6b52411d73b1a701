"""Commands that end early: the error is said, and the exit code is that of nothing done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from voxarray.cli.outcome import NOTHING_DONE, SOME_FAILED, STOPPED
from voxarray.core.errors import VoxarrayError

__all__ = ["NOTHING_DONE", "SOME_FAILED", "STOPPED", "fatal", "told_when_stopped"]


@contextmanager
def fatal() -> Iterator[None]:
    """An error of ours or the system's ends the process with `NOTHING_DONE`."""
    try:
        yield
    except (VoxarrayError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(NOTHING_DONE)


@contextmanager
def told_when_stopped(destination: str) -> Iterator[None]:
    """Whoever is asked to end by a signal or Ctrl-C says so, and exits with `STOPPED`."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(
            f"stopped: {destination} is not made; run the same command again to resume", err=True
        )
        sys.exit(STOPPED)
