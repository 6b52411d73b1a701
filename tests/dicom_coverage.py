"""Every file that pydicom bundles: opened and compared with pydicom, or refused by name.

``python tests/dicom_coverage.py`` writes the table in ``notebooks/dicom-coverage.md``; a test
checks that it is still true.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from voxarray.errors import VoxarrayError
from voxarray.selection import Selection
from voxarray.sources.dicom.reader import open_dicom

TABLE = Path(__file__).parents[1] / "notebooks" / "dicom-coverage.md"
_FOLDER = Path(pydicom.__file__).parent / "data"

_HEAD = """\
# DICOM files that pydicom bundles

Each file is opened alone. "opens" means that its voxels equal those of `pydicom.pixel_array` after
slope and intercept; everything else is an error with the code that is shown. The table is made, and
checked by the tests, with pydicom {pydicom} and the extras `dicom` and `plot`.

| file | result |
|---|---|
"""


def bundled_files() -> list[Path]:
    """Files that pydicom ships; its source code and descriptions left out."""
    found = (path for path in _FOLDER.rglob("*") if path.is_file())
    known = {".py", ".pyc", ".json", ".txt", ".md", ".typed"}
    return sorted(path for path in found if path.suffix not in known)


def outcome(path: Path) -> str:
    """What opening a file and reading all of it comes to."""
    try:
        source = open_dicom(str(path))
        voxels = source.read(Selection.whole(source.shape))
    except VoxarrayError as error:
        return f"`{error.code}`"
    expected = expected_voxels(path)
    if voxels.shape != expected.shape or not np.allclose(voxels, expected, rtol=1e-6, atol=0):
        return "**differs from pydicom**"
    shape = " x ".join(map(str, source.shape))
    return f"opens: {shape} {source.dtype}"


def expected_voxels(path: Path) -> np.ndarray:
    """Voxels (C, W, H, D) as pydicom decodes them, with slope and intercept."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    if int(dataset.get("SamplesPerPixel", 1)) == 1:
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    slope = dataset.get("RescaleSlope", dataset.get("DoseGridScaling", 1))
    scaled = pixels * float(slope) + float(dataset.get("RescaleIntercept", 0))
    planes = scaled.transpose(3, 2, 1, 0)
    return (
        planes
        if "GridFrameOffsetVector" in dataset or len(pixels) == 1
        else planes.transpose(3, 1, 2, 0)
    )


def rows() -> Iterator[str]:
    """A row of the table per file."""
    for path in bundled_files():
        yield f"| `{path.relative_to(_FOLDER).as_posix()}` | {outcome(path)} |\n"


def table() -> str:
    """The document."""
    return _HEAD.format(pydicom=pydicom.__version__) + "".join(rows())


if __name__ == "__main__":
    TABLE.write_text(table())
