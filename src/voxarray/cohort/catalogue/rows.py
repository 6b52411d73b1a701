"""The catalogue: a row per image, from the manifests of the archives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voxarray.cohort.catalogue import parquet
from voxarray.cohort.catalogue.entry import Entry
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.archive_names import shown
from voxarray.cohort.plan.item import Failure, Item
from voxarray.storage.small_files import Put, write_if_other

if TYPE_CHECKING:
    import pandas as pd

_EXACT = 1 << 53
"""Integers up to here are exact as floats."""

COLUMNS: Mapping[str, str] = {
    "status": "string",
    "subject": "string",
    "image": "string",
    "kind": "string",
    "labels": "strings",
    "archive": "string",
    "source": "string",
    "channels": "int64",
    "width": "int64",
    "height": "int64",
    "depth": "int64",
    "spacing_x": "float64",
    "spacing_y": "float64",
    "spacing_z": "float64",
    "spacing_min": "float64",
    "spacing_max": "float64",
    "orientation": "string",
    "dtype": "string",
    "voxel_bytes": "int64",
    "bytes": "int64",
    "minimum": "float64",
    "maximum": "float64",
    "code": "string",
    "modality": "string",
}
"""Columns of every catalogue with their types; columns of facts follow them, sorted by name."""

SPACINGS = ("spacing_x", "spacing_y", "spacing_z", "spacing_min", "spacing_max")
"""Columns in mm, to six significant digits."""

Row = dict[str, Any]


def rounded(mm: float) -> float:
    """A spacing to six significant digits.

    Headers hold affines in 32 bits, so that a rotated scan of 2 mm has 2.0000000378 mm. A query for
    at most 2 mm must find it.
    """
    return float(f"{mm:.6g}")


def row_of(name: str, entry: Entry, status: str = "done") -> Row:
    """The row of an archive."""
    facts = entry.facts
    channels, width, height, depth = facts["shape"]
    x, y, z = map(rounded, facts["spacing"])
    voxels = channels * width * height * depth * _itemsize(facts["dtype"])
    return {
        **{key: _shown(value) for key, value in facts["facts"].items()},
        "status": status,
        **{key: shown(facts[key]) for key in ("subject", "image", "kind", "source")},
        "labels": list(entry.labels),
        "archive": f"subjects/{name}",
        "channels": channels,
        "width": width,
        "height": height,
        "depth": depth,
        "spacing_x": x,
        "spacing_y": y,
        "spacing_z": z,
        "spacing_min": min(x, y, z),
        "spacing_max": max(x, y, z),
        "orientation": facts["orientation"],
        "dtype": facts["dtype"],
        "voxel_bytes": voxels,
        "bytes": entry.bytes,
        "minimum": _rounded(entry.minimum),
        "maximum": _rounded(entry.maximum),
    }


def row_of_missing(item: Item, failure: Failure | None) -> Row:
    """The row of an image that has no archive."""
    facts = {key: _shown(value) for key, value in item.facts.items() if not key.startswith("_")}
    return {
        **facts,
        "status": "missing" if failure is None else "failed",
        "subject": shown(item.subject),
        "image": shown(item.image),
        "kind": item.kind,
        "labels": [layer.name for layer in item.layers],
        "source": shown(item.origin.source),
        "code": failure and failure.code,
    }


def read(folder: CohortLayout) -> pd.DataFrame:
    """The catalogue.

    Raises:
        ChecksumError: If it is damaged.
        FileNotFoundError: If it is not there.
    """
    rows: pd.DataFrame = parquet.read(folder.catalogue)
    for name in rows.columns.intersection(SPACINGS):  # earlier releases wrote all digits
        # Cohorts have few different spacings, and many rows.
        numbers, different = rows[name].factorize(use_na_sentinel=False)
        rows[name] = different.map(rounded).take(numbers)
    return rows


def write(folder: CohortLayout, rows: Sequence[Row], put: Put = write_if_other) -> None:
    """Write the catalogue, sorted by subject and image; ``put`` is what writes its bytes."""
    import pyarrow

    types = {
        "string": pyarrow.string(),
        "strings": pyarrow.list_(pyarrow.string()),
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
    }
    fact_names = sorted(set[str]().union(*rows) - COLUMNS.keys())
    fields = [pyarrow.field(name, types[kind]) for name, kind in COLUMNS.items()]
    fields += [
        pyarrow.field(name, types[_kind(row.get(name) for row in rows)]) for name in fact_names
    ]
    texts = {field.name for field in fields if field.type == types["string"]}
    ordered = sorted(rows, key=lambda row: (row["subject"], row["image"], row["kind"]))
    for name in texts:
        if not {type(row.get(name)) for row in rows} <= _AS_TEXT:
            ordered = [{**row, name: _as_text(row.get(name))} for row in ordered]
    parquet.write(folder.catalogue, pyarrow.schema(fields), ordered, put)


def _kind(values: Iterable[Any]) -> str:
    """Type of a column of facts: numbers if all values are numbers, else texts.

    If a float would round one of them, such as a long identifier, all of them become texts.
    """
    present = [value for value in values if value is not None]
    return "float64" if present and all(map(_is_number, present)) else "string"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT)


def _rounded(end: float | None) -> float | None:
    """A smallest or largest value as the nearest float, which is what its column holds."""
    return None if end is None else float(end)


_AS_TEXT = {str, list, type(None)}
"""Types of values that stay as they are in a column of texts."""


def _as_text(value: Any) -> Any:
    return value if type(value) in _AS_TEXT else str(value)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    return value if isinstance(value, (int, float)) or value is None else json.dumps(value)


def _itemsize(dtype: str) -> int:
    import numpy as np

    return int(np.dtype(dtype).itemsize)
