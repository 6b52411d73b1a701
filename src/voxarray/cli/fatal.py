"""Commands that end early: the error is said, and the exit code is that of nothing done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from voxarray.cli.outcome import NOTHING_DONE, SOME_FAILED
from voxarray.core.errors import VoxarrayError

__all__ = ["NOTHING_DONE", "SOME_FAILED", "fatal"]


@contextmanager
def fatal() -> Iterator[None]:
    """An error of ours or the system's ends the process with `NOTHING_DONE`."""
    try:
        yield
    except (VoxarrayError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(NOTHING_DONE)
