"""`Image._repr_html_`: what a notebook shows of an image that is not loaded, and stays so."""

from __future__ import annotations

import base64
import html
import io
import math
from typing import TYPE_CHECKING

from voxarray.core import settings
from voxarray.core.errors import MissingPackageError, VoxarrayError
from voxarray.core.keys import DATA, LABEL
from voxarray.core.memory import cache_limit, format_bytes
from voxarray.geometry.grid import millimetres
from voxarray.rendering.drawing import Style, are_labels, draw
from voxarray.rendering.intensity_window import WITHOUT_OUTLIERS
from voxarray.rendering.matplotlib_import import figure
from voxarray.rendering.planes import View, as_channels, flat_axes, planes
from voxarray.source.pieces import is_sequential

if TYPE_CHECKING:
    from voxarray.rendering.planes import Plane
    from voxarray.source.drawable import Drawable
    from voxarray.source.sliced import SlicedSource

PIXELS = 256
_WIDTH, _HEIGHT = 7.2, 3.0  # inches at most, at 100 pixels each, without letters
_SHADES = 128  # of grey in the file: the eye tells fewer, and notebooks stay small
_LETTERS = "#808080"  # to be read on white and on black: the notebook's theme shines through


def to_html(image: Drawable) -> str | None:
    """Header facts as a table, and three planes as an inline PNG.

    At most the planes are read. They are left out, and the reason is given, where reading them
    would decode or compute much more: a compressed file that does not fit into the block cache as
    one block (setting ``gzip-whole-limit``), and results of operations.

    Returns:
        HTML; None, which makes notebooks show the text, without matplotlib or without a readable
        header.
    """
    try:
        reason = _reason_to_wait(image.source)
        picture = f"<p>{html.escape(reason)}</p>" if reason else _picture(image)
        rows = "".join(
            f"<tr><th style='text-align: left'>{html.escape(name)}</th>"
            f"<td style='text-align: left'>{html.escape(fact)}</td></tr>"
            for name, fact in _facts(image).items()
        )
    except (MissingPackageError, VoxarrayError, OSError):
        return None
    return (
        f"<div><strong>{html.escape(type(image).__name__)}</strong>"
        f"{picture}<table>{rows}</table></div>"
    )


def _reason_to_wait(sliced: SlicedSource) -> str:
    """Why the planes are not to be drawn unasked; empty if they are."""
    base = sliced.base
    if base.lazy:
        return "The voxels are computed when they are asked for; plot() computes these planes."
    nbytes = math.prod(base.shape) * base.dtype.itemsize
    block = nbytes if is_sequential(base) else math.prod(base.chunks) * base.dtype.itemsize
    limit = min(settings.get_bytes("gzip-whole-limit"), cache_limit())
    if block > limit and not base.in_memory:
        return f"{format_bytes(block)} must be decoded to draw any plane; plot() does that."
    return ""


def _picture(image: Drawable) -> str:
    source = image.source
    shape = source.grid.reorient("RAS").shape
    channel = -1 if image.type == LABEL else 0
    view = View(channels=as_channels(channel, source.shape[0]), pixels=PIXELS)
    panels = planes(source, view, flat_axes(shape))
    widths = [plane.width for plane in panels]  # as in the patient, for the same scale
    tallest = max(plane.height for plane in panels)
    inches = min(_WIDTH / sum(widths), _HEIGHT / tallest)  # per mm
    drawing = figure((inches * sum(widths) + 0.4 * len(panels), inches * tallest + 0.8))
    axes = drawing.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    draw(panels, axes, _style(image, panels), xlabels=True)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color(_LETTERS)
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label):
            text.set_color(_LETTERS)
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", bbox_inches="tight", transparent=True)
    encoded = base64.b64encode(_smaller(buffer)).decode()
    return f'<p><img alt="{html.escape(repr(image))}" src="data:image/png;base64,{encoded}"/></p>'


def _smaller(png: io.BytesIO) -> bytes:
    """The picture in fewer shades of grey, if it has no colours; what is transparent stays so."""
    from PIL import Image, ImageChops  # matplotlib, which made the picture, needs it too

    picture = Image.open(png).convert("RGBA")
    red, green, blue, opacity = picture.split()
    if not any(ImageChops.difference(red, other).getbbox() for other in (green, blue)):
        step = 256 // _SHADES
        grey = red.point([value // step * 255 // (_SHADES - 1) for value in range(256)])
        picture = Image.merge("LA", (grey, opacity))
    smaller = io.BytesIO()
    picture.save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def _style(image: Drawable, panels: list[Plane]) -> Style:
    if image.type == LABEL and are_labels(panels):
        return Style(image.label_colours)
    return Style(percentiles=WITHOUT_OUTLIERS)


def _chunks(image: Drawable, nbytes: int) -> str:
    """What is read at once, how many of it there are, and what an archive compresses at once."""
    counts = [-(-n // chunk) for n, chunk in zip(image.shape, image.chunks, strict=True)]
    text = f"{image.chunks}, {format_bytes(nbytes)}, {math.prod(counts)} in all"
    array = getattr(image.source.base, "array", None)
    if array is None or not hasattr(array, "layout"):
        return text
    n, z, y, x = array.layout.chunk
    return f"{text}; shards of compressed chunks {(n, x, y, z)}"


def _tenths(mm: float) -> str:
    """A place to a tenth of a millimetre, or as small as it is."""
    return f"{mm:.1f}" if abs(mm) >= 1 or mm == 0 else millimetres(mm)


def _facts(image: Drawable) -> dict[str, str]:
    report = image.memory_report()
    sliced = image.source
    low, high = image.grid.bounds
    extent = ", ".join(f"{_tenths(a)} to {_tenths(b)}" for a, b in zip(low, high, strict=True))
    facts = {
        "shape (C, W, H, D)": str(image.shape),
        "spacing": " \N{MULTIPLICATION SIGN} ".join(f"{mm:.3g}" for mm in image.spacing) + " mm",
        "orientation": f"{image.orientation_str}+",
        "extent (RAS+)": f"{extent} mm",
        "type": f"{image.type}, {sliced.dtype}",
        "chunks (C, W, H, D)": _chunks(image, report.chunk),
        "on disk": "no" if report.on_disk is None else format_bytes(report.on_disk),
        "resident": format_bytes(report.resident),
        "as a tensor": format_bytes(report.tensor) + (", loaded" if DATA in image else ""),
    }
    if sliced.levels > 1:
        facts["pyramid"] = f"{sliced.levels} levels"
    if image.path is not None:
        facts["path"] = str(image.path)
    return facts
