"""When the peers' releases came out, and which results were measured with older ones.

``releases.json`` holds each peer's newest release when it was looked up at the package index, and
the dates of the releases that are pinned in ``requirements`` or named in ``results``.

Some of the newest ask for another Python than the benchmarks run in (zarr 3.4 for 3.12): results
then say that they are of an older release.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "releases.json"


def known() -> dict[str, Any]:
    """When was looked up, and what was found for each peer."""
    content: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return content


def outdated(versions: Mapping[str, str]) -> str:
    """Which of some versions are not the newest known, as a phrase; empty if all are."""
    older = []
    for name, record in known()["peers"].items():
        version, newest = versions.get(name, "").split("+")[0], record["newest"]
        dates = record["releases"]
        if version not in ("", newest) and dates.get(version, "") <= dates[newest]:
            older.append(f"{name} {version} (newest {newest}, {dates[newest]})")
    return ", ".join(older)


def rows() -> list[list[str]]:
    """Rows: peer, newest release, its date, other releases that were measured."""
    result = []
    for name, record in known()["peers"].items():
        newest, dates = record["newest"], record["releases"]
        other_releases = [
            f"{version} ({date})" for version, date in dates.items() if version != newest
        ]
        result.append([name, newest, dates[newest], ", ".join(other_releases)])
    return result
