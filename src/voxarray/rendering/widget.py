"""`Image.view`: an interactive viewer in a notebook, of the finest overview that fits."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from voxarray.core.keys import LABEL
from voxarray.core.label_colours import PALETTE_SIZE, paint
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.write_voxels import write_volumes
from voxarray.formats.nifti.write import representation
from voxarray.nifti_header.build import stored_dtype
from voxarray.nifti_header.fields import EXTENSION_FLAG_BYTES, LABEL_INTENT
from voxarray.nifti_header.header import NiftiHeader
from voxarray.ops.intensity import Cast
from voxarray.rendering.intensity_window import FULL_RANGE, intensity_window
from voxarray.rendering.overview import Overview
from voxarray.rendering.planes import View, planes
from voxarray.source.array import ArraySource
from voxarray.source.materialise import materialise
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.value_counts import count_values

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_INSTALL = "voxarray[notebook]"
_LARGEST_TABLE = 1 << 16  # labels with a colour of their own; those above share the last one

_LIKE_PICTURES: Mapping[str, Any] = {
    "is_radiological_convention": True,
    "sagittal_nose_left": True,
    "show_all_orientation_markers": True,
    # Sizes of letters and lines are NiiVue's, but not for small tiles and coarse voxels: there
    # letters were of 8 pixels, and the crosshair covered what it pointed at.
    "font_min_px": 20,
    "font_color": (1.0, 0.8, 0.2, 1.0),
    "crosshair_width": 1.0,
    "crosshair_width_unit": "percent",
    "multiplanar_pad_pixels": 8,
}
"""The sides of `plot`: the patient's right on the left, and the nose; letters that can be read."""

_LABEL_TYPES = (np.uint8, np.int16, np.uint16)
"""Types of labels that the viewer looks up in a table; of others it does not."""


@dataclass(frozen=True, slots=True)
class Look:
    """How images are looked at.

    Attributes:
        limit: Bytes of each image that may go to the browser, also as a text such as ``"64 MiB"``.
        height: Height of the viewer, in pixels.
        percentiles: Of the middle planes; the intensities there are drawn black and white.
        opacity: Of label maps over a scan, 0 to 1.
        options: For ``ipyniivue.NiiVue``.
    """

    limit: int | str = "64 MiB"
    height: int = 400
    percentiles: tuple[float, float] = FULL_RANGE
    opacity: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)


def view(image: Drawable, labels: Mapping[str, Drawable], look: Look) -> Any:
    """A widget that shows an image, or less of a large one, with label maps over it.

    Args:
        image: What to show.
        labels: Label maps by name, placed by their own affines.
        look: How.

    Returns:
        The ``ipyniivue.NiiVue``. Its first volume is named after the image and what it is of it.

    Raises:
        MissingPackageError: If ipyniivue is not installed.
        MemoryBudgetError: As `Overview.within`; nothing was read.
        UnsupportedError: For voxels that NIfTI has no type for.
    """
    from dask.utils import parse_bytes

    niivue = import_optional("ipyniivue", _INSTALL)
    limit = parse_bytes(look.limit)
    stem = image["stem"] if isinstance(image["stem"], str) and image["stem"] else "image"
    overviews = [Overview.within(drawable.source, limit) for drawable in (image, *labels.values())]
    volumes = [_volume(niivue, image, overviews[0], stem, look)]
    for number, (name, drawable) in enumerate(labels.items()):
        overview = overviews[1 + number]
        volume = _volume(niivue, drawable, overview, name, look, number, opacity=look.opacity)
        volumes.append(volume)
    widget = niivue.NiiVue(height=look.height, **{**_LIKE_PICTURES, **look.options})
    widget.load_volumes(volumes)
    return widget


def view_linked(images: Mapping[str, Drawable], labels: Mapping[str, Drawable], look: Look) -> Any:
    """Viewers side by side, of which each moves the others' crosshairs.

    Args:
        images: Scans by name, or label maps where there is no scan.
        labels: Label maps by name, over every scan.
        look: How.

    Returns:
        An ``ipywidgets.HBox`` of viewers; of a single image the viewer alone.

    Raises:
        MissingPackageError, MemoryBudgetError, UnsupportedError: As `view`.
    """
    ipywidgets = import_optional("ipywidgets", _INSTALL)
    viewers = [view(image, labels, look) for image in images.values()]
    if len(viewers) == 1:
        return viewers[0]
    for viewer in viewers:
        others = [other for other in viewers if other is not viewer]
        viewer.broadcast_to(others, {"2d": True, "3d": True})
    titled = [
        ipywidgets.VBox([ipywidgets.Label(name), viewer], layout={"flex": "1 1 0", "width": "auto"})
        for name, viewer in zip(images, viewers, strict=True)
    ]
    return ipywidgets.HBox(titled)


def _volume(
    niivue: Any,
    image: Drawable,
    overview: Overview,
    name: str,
    look: Look,
    number: int = 0,
    **more: Any,
) -> Any:
    sliced = read_once(overview.source)
    options: dict[str, Any] = {"name": f"{name}{overview.name and ', '}{overview.name}.nii", **more}
    if image.type == LABEL:
        values = list(count_values(sliced).as_dict())
        options["data"] = _as_nifti(_as_labels(sliced, values), LABEL_INTENT)
        options["colormap_label"] = _table(niivue, image, values, number)
    else:
        low, high = _limits(sliced, look.percentiles)
        options.update(data=_as_nifti(sliced), colormap="gray", cal_min=low, cal_max=high)
    return niivue.Volume(**options)


def read_once(sliced: SlicedSource) -> SlicedSource:
    """The same voxels in RAM: they are looked at more than once."""
    if sliced.base.in_memory:
        return sliced
    voxels = materialise(sliced, sliced.dtype)
    source = ArraySource(voxels, sliced.affine, sliced.channels)
    return SlicedSource.of(source)


def _limits(sliced: SlicedSource, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Black and white, as `plot` finds them: of the middle planes."""
    view = View(channels=range(1), reorient=False, pixels=max(sliced.shape[1:]))
    pixels = [plane.pixels[..., 0] for plane in planes(sliced, view, (0, 1, 2))]
    return intensity_window(pixels, percentiles)


def _as_labels(sliced: SlicedSource, values: Sequence[int | float]) -> SlicedSource:
    """The same labels in the smallest type that the viewer takes for labels, if one holds them."""
    for kind in _LABEL_TYPES:
        limits = np.iinfo(kind)
        if all(value == int(value) and limits.min <= value <= limits.max for value in values):
            return SlicedSource.of(Cast(sliced, np.dtype(kind)))
    return sliced


def _as_nifti(sliced: SlicedSource, intent: int = 0) -> bytes:
    """The bytes of a ``.nii`` file of the voxels of a sliced source."""
    voxels, header = representation(sliced)
    if intent:
        record = NiftiHeader.parse(header).record.copy()
        record["intent_code"] = intent
        header = record.tobytes()
    file = io.BytesIO()
    file.write(header + bytes(EXTENSION_FLAG_BYTES))
    write_volumes(voxels, file, stored_dtype(voxels.dtype))
    return file.getvalue()


def _table(niivue: Any, image: Drawable, labels: Sequence[int | float], number: int) -> Any:
    """The colours that `plot` gives labels over scans; 0 is transparent."""
    largest = max(map(int, labels), default=0)
    values = np.arange(min(max(largest, PALETTE_SIZE) + 1, _LARGEST_TABLE))
    colours = paint(values, image.label_colours or {}, over_scan=True, number=number)
    opaque = np.where(values == 0, 0, 255)
    table = np.column_stack([colours, opaque]).astype(int)
    return niivue.LUT(lut=table.ravel().tolist(), min=0.0, max=float(values[-1]))
