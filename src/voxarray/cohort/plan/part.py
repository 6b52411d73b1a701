"""Reading one part of a frozen plan, with memory for the part and not for the whole plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from voxarray.cohort.plan.item import Item
from voxarray.cohort.plan.plan import Plan, damaged, missing, refuse_version, stated
from voxarray.core.errors import FormatError
from voxarray.storage.small_files import open_file

_ROW_END = b",\n"


def read_part(path: str, number: int, of: int) -> Plan:
    """The items of one part, which are those that `Plan.part` gives.

    Args:
        path: Of the plan.
        number: Of the part, from 1 on.
        of: Parts.

    Raises:
        MissingFileError, ChecksumError, FormatError: As `Plan.read`.
    """
    try:
        with open_file(path) as file:
            content, places = _read(file)
            refuse_version(content, path)
            numbers = _order(content, file, places)[number - 1 :: of]
            rows = [_row(file, *places[row]) for row in numbers]
    except FileNotFoundError:
        raise missing(path) from None
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path) from None
    items = tuple(Item.from_json(row) for row in rows)
    return Plan(items, *stated(content))


def _row(file: BinaryIO, offset: int, size: int) -> dict[str, Any]:
    file.seek(offset)
    row: dict[str, Any] = json.loads(file.read(size))
    return row


def _read(file: BinaryIO) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """The content of the plan without its rows, and the offset and length of each row.

    Raises:
        ValueError: If the file is damaged.
    """
    digest = hashlib.sha256()
    places: list[tuple[int, int]] = []
    lines = _lines(file)
    offset, first = next(lines)
    content = json.loads(first.rstrip(_ROW_END) + b"}")
    digest.update(first)
    for offset, line in lines:
        if line.startswith(b'"sha256"'):
            if json.loads(b"{" + line)["sha256"] != digest.hexdigest():
                break
            return content, places
        digest.update(line)
        if line.startswith(b"{"):
            places.append((offset, len(line.rstrip(_ROW_END))))
    raise ValueError("no sha256, or another")


def _order(
    content: Mapping[str, Any], file: BinaryIO, places: Sequence[tuple[int, int]]
) -> list[int]:
    """Numbers of rows, the largest image first; plans of 0.1 need all rows read for that."""
    if "order" in content:
        return list(content["order"])
    rows = [Item.from_json(_row(file, *place)) for place in places]
    return sorted(range(len(rows)), key=lambda number: (-rows[number].size, rows[number].slug))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for line in file:
        yield offset, line
        offset += len(line)
