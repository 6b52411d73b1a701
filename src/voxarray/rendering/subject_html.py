"""What notebooks show of a subject: its fields as a table, and each image as notebooks show it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any


def to_html(images: Mapping[str, str | None], fields: Mapping[str, Any]) -> str | None:
    """A table of the fields, and below it each image under its name.

    Args:
        images: HTML of each by name; None if there is none.
        fields: What else is known of the subject, by name.

    Returns:
        HTML; None, which makes notebooks show the text, if an image has none.
    """
    if None in images.values():
        return None
    rows = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(_short(value))}</td></tr>"
        for key, value in fields.items()
    )
    table = f"<table>{rows}</table>" if fields else ""
    return table + "".join(f"<h4>{html.escape(name)}</h4>{text}" for name, text in images.items())


def _short(value: Any) -> str:
    """A field as text of one line at most; of an array, its kind and shape."""
    shape = getattr(value, "shape", None)
    text = repr(value) if shape is None else f"{type(value).__name__} {tuple(shape)}"
    return text if len(text) <= 120 else f"{text[:117]}..."
