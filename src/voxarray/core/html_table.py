"""Small tables that notebooks show of values: what ``repr`` says, to be read at a glance."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

_LEFT = "style='text-align: left'"
SCROLLS = "style='overflow-x: auto'"
"""Of what a table stands in: on a narrow page the table is moved, not the page."""
_LONGEST = 200


def html_table(title: str, facts: Mapping[str, Any]) -> str:
    """A heading and a row for each fact; whatever the texts hold, it is shown, not interpreted.

    >>> html_table("Grid", {"shape": (2, 3, 4)})
    "<div style='overflow-x: auto'><strong>Grid</strong><table>\
<tr><th style='text-align: left'>shape</th>\
<td style='text-align: left'>(2, 3, 4)</td></tr></table></div>"

    Args:
        title: What it is.
        facts: Names and values; long ones are cut.
    """
    rows = "".join(
        f"<tr><th {_LEFT}>{html.escape(name)}</th><td {_LEFT}>{_cell_text(value)}</td></tr>"
        for name, value in facts.items()
    )
    table = f"<table>{rows}</table>" if rows else ""
    return f"<div {SCROLLS}><strong>{html.escape(title)}</strong>{table}</div>"


def _cell_text(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return html.escape(
        text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
