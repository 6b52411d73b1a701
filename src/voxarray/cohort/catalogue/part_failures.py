"""Permanent failures in one part of a plan: a small file that only this part writes.

The journals hold them, too, but reading the journals of all parts would cost each part as much as
the whole cohort.
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
    """The failures of a part; none if the file is missing or damaged."""
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
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}  # these images are then tried again


def write(folder: CohortLayout, part: tuple[int, int], failed: Iterable[Failed]) -> None:
    """Write the permanent failures of a part, if they differ; no file is made for an empty list.

    Raises:
        ArchiveError: If writing fails.
    """
    path = _path(folder, part)
    permanent = [
        [failed_image.slug, failed_image.key, failed_image.failure.to_json()]
        for failed_image in failed
        if failed_image.failure.permanent
    ]
    if permanent or is_file(path):
        text = json.dumps(sorted(permanent, key=lambda failed_image: failed_image[:2]))
        write_if_other(path, text.encode())


def _path(folder: CohortLayout, part: tuple[int, int]) -> str:
    return os.path.join(folder.journal, f"part-{part[0]}-of-{part[1]}.failed.json")
