"""One small picture of an image, for a table in a notebook."""

from __future__ import annotations

import base64
import io

import numpy as np

from voxarray.core.keys import LABEL
from voxarray.core.label_colours import paint
from voxarray.core.optional import import_optional
from voxarray.image import Image
from voxarray.rendering.intensity_window import WITHOUT_OUTLIERS, intensity_window, to_grey
from voxarray.rendering.planes import View, planes

PIXELS = 64
_AXIAL = (2,)


def thumbnail(image: Image) -> str:
    """An ``<img>`` of the middle axial plane, read from the coarsest level that has enough voxels.

    Raises:
        MissingPackageError: If Pillow is not installed.
        VoxarrayError: What reading finds wrong.
    """
    (plane,) = planes(image.source, View(pixels=PIXELS), _AXIAL)
    voxels = plane.pixels[..., 0]
    if image.type == LABEL:
        pixels = paint(voxels, image.label_colours or {})
    else:
        pixels = to_grey(voxels, *intensity_window([voxels], WITHOUT_OUTLIERS))
    scale = PIXELS / max(plane.width, plane.height)
    size = max(1, round(plane.width * scale)), max(1, round(plane.height * scale))
    picture = import_optional("PIL.Image", "voxarray[plot]").fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    picture.resize(size).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="axial plane" src="data:image/png;base64,{encoded}"/>'
