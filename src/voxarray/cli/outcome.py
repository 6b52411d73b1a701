"""How a command over several files ends: what failed is said, and the exit code counts it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import click

from voxarray.core.errors import VoxarrayError
from voxarray.core.printable import printable

SOME_FAILED = 3
NOTHING_DONE = 1
STOPPED = 75
"""Asked to end, and the rest is good: ``EX_TEMPFAIL`` of sysexits.h, run it again."""


@dataclass(slots=True)
class Outcome:
    """Counts what went well and what did not.

    Attributes:
        done: Files that went well.
        failed: Files that did not.
    """

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Work on one file; an error is told and counted, and the rest goes on.

        Ours, or the system's (no permission, a disk that fails); any other is a fault of voxarray
        and ends the command with its traceback.
        """
        try:
            yield
        except (VoxarrayError, OSError) as error:
            self.fail(name, str(error))
        else:
            self.done.append(name)

    def fail(self, name: str, text: str) -> None:
        """Tell and count a failure."""
        self.failed.append(name)
        lines = "\n".join(map(printable, text.splitlines()))
        click.echo(f"{printable(name)}: {lines}", err=True)

    def exit(self) -> NoReturn:
        """End the process: 0 all good, 3 some failed, 1 nothing done."""
        if not self.done and not self.failed:
            click.echo("nothing to do: nothing was found there that voxarray reads", err=True)
        if self.failed:
            click.echo(
                f"{len(self.failed)} of {len(self.failed) + len(self.done)} failed", err=True
            )
        sys.exit(
            (SOME_FAILED if self.done else NOTHING_DONE) if self.failed or not self.done else 0
        )
