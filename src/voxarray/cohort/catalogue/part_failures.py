"""What failed permanently in one part of a plan: a small file that this part alone keeps.

The journals say it too, of all parts; to read them all would cost each part as much as the whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.item import Failure
from voxarray.storage.small_files import is_file, read_file, write_if_other

Noted = dict[tuple[str, str], Mapping[str, Any]]
"""Records of failures by the name of the archive and the key of the item."""

_UNTIMED = {"seconds": None, "peak": None}


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that failed.

    Attributes:
        slug: Name of the archive that it would have.
        key: Of its item.
        failure: Why.
    """

    slug: str
    key: str
    failure: Failure


def read(folder: CohortLayout, part: tuple[int, int]) -> Noted:
    """What was noted of a part; nothing where there is no file, or none that can be read."""
    try:
        lines = json.loads(read_file(_path(folder, part)))
        return {
            (slug, key): {
                "failure": Failure.from_json(failure).to_json(),
                "seconds": None,
                "peak": None,
            }
            for slug, key, failure in lines
        }
    except (OSError, ValueError, TypeError, RecursionError):
        return {}  # then it is tried again


def write(folder: CohortLayout, part: tuple[int, int], failed: Iterable[Failed]) -> None:
    """Note what failed permanently, unless that is what the file says; none is made for nothing.

    Raises:
        ArchiveError: If writing fails.
    """
    path = _path(folder, part)
    permanent = [
        [one.slug, one.key, one.failure.to_json()] for one in failed if one.failure.permanent
    ]
    if permanent or is_file(path):
        text = json.dumps(sorted(permanent, key=lambda one: one[:2]))
        write_if_other(path, text.encode())


def _path(folder: CohortLayout, part: tuple[int, int]) -> str:
    return os.path.join(folder.journal, f"part-{part[0]}-of-{part[1]}.failed.json")
