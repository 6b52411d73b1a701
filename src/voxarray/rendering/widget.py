"""`Image.view`: an interactive viewer in a notebook, on the finest pyramid level that fits."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.core.errors import MemoryBudgetError
from voxarray.core.keys import LABEL
from voxarray.core.label_colours import PALETTE_SIZE, paint
from voxarray.core.memory import format_bytes
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.write_voxels import write_volumes
from voxarray.formats.nifti.write import representation
from voxarray.nifti_header.build import stored_dtype
from voxarray.nifti_header.fields import EXTENSION_FLAG_BYTES
from voxarray.nifti_header.header import NiftiHeader
from voxarray.ops.intensity import Cast
from voxarray.source.window import Window
from voxarray.statistics.value_counts import count_values

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_INSTALL = "voxarray[notebook]"
_LARGEST_TABLE = 1 << 16  # labels with a colour of their own; those above share the last one

_LABEL_INTENT = 1002
"""NIFTI_INTENT_LABEL: without it the viewer takes labels for intensities, and paints all alike."""

_LABEL_TYPES = (np.uint8, np.int16, np.uint16)
"""Types of labels that the viewer looks up in a table; of others it does not."""


def view(image: Drawable, *, limit: int | str, height: int, **options: Any) -> Any:
    """A widget that shows an image, or a coarser level of it.

    Args:
        image: What to show.
        limit: Bytes that may go to the browser, also as a text such as ``"64 MiB"``.
        height: Pixels.
        **options: For ``ipyniivue.NiiVue``.

    Returns:
        The ``ipyniivue.NiiVue``; its only volume is named after the image and the level.

    Raises:
        MissingPackageError: If ipyniivue is not installed.
        MemoryBudgetError: If not even the coarsest level is within the limit; nothing was read.
        UnsupportedError: For voxels that NIfTI has no type for.
    """
    from dask.utils import parse_bytes

    niivue = import_optional("ipyniivue", _INSTALL)
    number, window = _level_within(image.source, parse_bytes(limit))
    shown: dict[str, Any] = {"name": _name(image, number)}
    if image.type == LABEL:
        values = list(count_values(window).as_dict())
        shown["data"] = _as_nifti(_as_labels(window, values), _LABEL_INTENT)
        shown["colormap_label"] = _table(niivue, image, values)
    else:
        shown["data"] = _as_nifti(window)
        shown["colormap"] = "gray"
    # As in the pictures of `plot` and of notebooks: the patient's right is on the left.
    options.setdefault("is_radiological_convention", True)
    widget = niivue.NiiVue(height=height, **options)
    widget.load_volumes([niivue.Volume(**shown)])
    return widget


def _level_within(source: Window, limit: int) -> tuple[int, Window]:
    """The finest level of at most ``limit`` bytes; a slice has only itself."""
    levels = source.levels if source.is_whole else 1
    size = 0
    for number in range(levels):
        level = source.level(number) if number else source
        size = math.prod(level.shape) * level.dtype.itemsize
        if size <= limit:
            return number, level
    step = math.ceil((size / max(1, limit)) ** (1 / 3))
    thinned = ", ".join([f"::{step}"] * 3)
    pyramid = "" if source.levels > 1 else "save the image to an archive, which has a pyramid, "
    raise MemoryBudgetError(
        f"the viewer would be sent {format_bytes(size)}"
        f"{' of the coarsest level' if levels > 1 else ''} and the limit is "
        f"{format_bytes(limit)}; view a slice such as image[{thinned}], "
        f"{pyramid}or raise the limit: view(limit='{_next_limit(size)}')"
    )


def _next_limit(size: int) -> str:
    """The next power of two of MiB that holds so many bytes."""
    return f"{1 << max(0, math.ceil(size / (1 << 20)) - 1).bit_length()} MiB"


def _as_labels(window: Window, values: Sequence[int | float]) -> Window:
    """The same labels in the smallest type that the viewer takes for labels, if one holds them."""
    for kind in _LABEL_TYPES:
        known = np.iinfo(kind)
        if all(value == int(value) and known.min <= value <= known.max for value in values):
            return Window.of(Cast(window, np.dtype(kind)))
    return window


def _as_nifti(window: Window, intent: int = 0) -> bytes:
    """The bytes of a ``.nii`` file of what a window shows."""
    voxels, header = representation(window)
    if intent:
        record = NiftiHeader.parse(header).record.copy()
        record["intent_code"] = intent
        header = record.tobytes()
    file = io.BytesIO()
    file.write(header + bytes(EXTENSION_FLAG_BYTES))
    write_volumes(voxels, file, stored_dtype(voxels.dtype))
    return file.getvalue()


def _name(image: Drawable, number: int) -> str:
    stem = image["stem"] if isinstance(image["stem"], str) and image["stem"] else "image"
    return f"{stem}, level {number}.nii" if number else f"{stem}.nii"


def _table(niivue: Any, image: Drawable, labels: Sequence[int | float]) -> Any:
    """The colours that `plot` gives the labels; 0 is transparent."""
    largest = max(map(int, labels), default=0)
    values = np.arange(min(max(largest, PALETTE_SIZE) + 1, _LARGEST_TABLE))
    colours = paint(values, image.label_colours or {})
    opaque = np.where(values == 0, 0, 255)
    table = np.column_stack([colours, opaque]).astype(int)
    return niivue.LUT(lut=table.ravel().tolist(), min=0.0, max=float(values[-1]))
