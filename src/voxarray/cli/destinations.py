"""What a destination is, decided once for all commands: an archive, a file, or a cohort.

The suffix decides, never the number of sources, and never what a command would like it to be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import click

from voxarray.cohort.folder import CohortLayout
from voxarray.formats.registry import (
    format_of,
    longest_suffix,
    not_written,
    writable_format,
    written_suffixes,
)
from voxarray.storage.destination import destination_of, local_destination
from voxarray.storage.remote.address import is_url

_SUFFIX = re.compile(r".+\.(?!v\d)[A-Za-z][A-Za-z0-9]{0,7}\Z")
"""Names that end as those of files do; ``study.v2`` and ``study.2024`` do not."""


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
        if format_of(path) is not None and not os.path.isdir(path):
            raise not_written(text, ", or a folder")
        return cls(path, Kind.COHORT)

    def refuse_mistyped(self, sources: Sequence[str]) -> None:
        """Refuse a new cohort of one image whose name looks like that of a file.

        Whoever converts one file to ``t1.nii.gx`` mistyped a suffix. A folder of that name would be
        a surprise, while one for many images is what a name means that no format has.

        Args:
            sources: What it will be made of.

        Raises:
            UnsupportedError: No format is known by the suffix (``UNKNOWN_SUFFIX``).
        """
        name = os.path.basename(self.path)
        is_new = self.kind is Kind.COHORT and not os.path.isdir(self.path)
        if not (is_new and _SUFFIX.match(name) and _is_one_image(sources)):
            return
        advice = (
            ". To make a cohort of one image, choose a folder without a suffix, or make this "
            "folder first"
        )
        raise not_written(self.path, advice)

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


def _is_one_image(sources: Sequence[str]) -> bool:
    """Whether these are one file or URL with a suffix of images; globs may be more."""
    if len(sources) != 1 or format_of(sources[0]) is None:
        return False
    (source,) = sources
    return "*" not in source if is_url(source) else os.path.exists(os.path.expanduser(source))


def refuse_meaningless(kind: Kind, destination: str, unused: dict[str, str]) -> None:
    """Refuse options that were given and would have no effect.

    Args:
        kind: What is made.
        destination: As it was given.
        unused: Flags that mean nothing for that kind, by the names of parameters.

    Raises:
        click.UsageError: Naming all of them.
    """
    useless = flags_given(unused)
    if useless:
        raise click.UsageError(
            f"{destination} names one {kind.value}, for which {', '.join(useless)} would have no "
            f"effect: leave out {', '.join(useless)}, or choose a folder, which becomes a cohort"
        )


def flags_given(flags: dict[str, str]) -> list[str]:
    """Those of some flags, by the names of their parameters, that stand in the command line."""
    context = click.get_current_context()
    command_line = click.core.ParameterSource.COMMANDLINE
    return [
        flag for name, flag in flags.items() if context.get_parameter_source(name) is command_line
    ]
