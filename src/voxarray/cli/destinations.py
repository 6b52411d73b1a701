"""What a destination is, decided once for all commands: an archive, a file, or a cohort.

The suffix decides, never the number of sources, and never what a command would like it to be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

import click

from voxarray.cohort.folder import CohortLayout
from voxarray.core.errors import UnsupportedError
from voxarray.formats.registry import format_of, longest_suffix, writable_format, written_suffixes
from voxarray.storage.destination import destination_of, local_destination
from voxarray.storage.remote.address import is_url


class Kind(Enum):
    """What is made."""

    ARCHIVE = "archive"
    FILE = "file"
    COHORT = "cohort"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results go.

    Attributes:
        path: As it was given, without ``~`` and ``file://``.
        kind: What is made there.
        format: Name of the format of a file.
    """

    path: str
    kind: Kind
    format: str = ""

    @classmethod
    def of(cls, text: str) -> Destination:
        """What a text on the command line names.

        Raises:
            UnsupportedError: A URL (``UNSUPPORTED_DESTINATION``), or a suffix of images that is
                read and cannot be written (``UNKNOWN_SUFFIX``): never a folder of that name.
        """
        path = destination_of(text)
        path = path if is_url(path) else os.path.expanduser(local_destination(text))
        if CohortLayout.of(path).is_cohort():
            return cls(path, Kind.COHORT)
        written = writable_format(path)
        if written is not None:
            kind = Kind.ARCHIVE if written.identity == "zarr" else Kind.FILE
            return cls(path, kind, written.name)
        read = format_of(path)
        if read is not None and not os.path.isdir(path):
            raise UnsupportedError(
                f"{text} has the suffix of {read.name}, which is read and not written: choose one "
                f"of {', '.join(written_suffixes())}, or a folder",
                code="UNKNOWN_SUFFIX",
                path=path,
            )
        return cls(path, Kind.COHORT)

    def require_cohort(self, command: str) -> CohortLayout:
        """The folder of a cohort, which alone makes sense for a command.

        Raises:
            click.UsageError: It names one archive or file.
        """
        if self.kind is not Kind.COHORT:
            suffix = longest_suffix(self.path, written_suffixes())
            raise click.UsageError(
                f"voxarray {command} needs a cohort, which is a folder, but {self.path} names one "
                f"{self.kind.value} ({suffix}): choose a folder without such a suffix, or make "
                f"the {self.kind.value} with voxarray convert"
            )
        return CohortLayout.of(self.path)


def refuse_meaningless(kind: Kind, destination: str, unused: dict[str, str]) -> None:
    """Refuse options that were given and would have no effect.

    Args:
        kind: What is made.
        destination: As it was given.
        unused: Flags that mean nothing for that kind, by the names of parameters.

    Raises:
        click.UsageError: Naming all of them.
    """
    found = given(unused)
    if found:
        raise click.UsageError(
            f"{destination} names one {kind.value}, for which {', '.join(found)} would have no "
            f"effect: leave out {', '.join(found)}, or choose a folder, which becomes a cohort"
        )


def given(flags: dict[str, str]) -> list[str]:
    """Those of some flags, by the names of their parameters, that stand in the command line."""
    context = click.get_current_context()
    command_line = click.core.ParameterSource.COMMANDLINE
    return [
        flag for name, flag in flags.items() if context.get_parameter_source(name) is command_line
    ]
