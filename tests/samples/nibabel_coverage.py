"""Every file of nibabel's own test data that is an image: compared with nibabel, or refused.

``python tests/samples/nibabel_coverage.py`` writes ``notebooks/nibabel-coverage.md``; a test
checks that it is still true.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from voxarray.core.errors import VoxarrayError
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection

TABLE = Path(__file__).parents[2] / "notebooks" / "nibabel-coverage.md"
_FOLDER = Path(nib.__file__).parent / "tests/data"

_NOT_IMAGES = {".py", ".m", ".rst", ".trk", ".tck", ".dcm", ""}  # .dcm: see dicom_coverage

_HEAD = """\
# Images of nibabel's test data

"opens" means that voxels and affine equal nibabel's: the affine to 1e-6, unscaled voxels exactly,
scaled ones after rounding nibabel's float64 to the type that is shown. "no volume in nibabel
either" marks files in which `nibabel.load`, too, finds no volume: headers without their voxels,
files that are broken on purpose, a matrix of connectivity (which nibabel opens without an affine),
and ECAT (`.v`), which nibabel reads only by `nibabel.ecat`. The code of voxarray's error follows;
`python notebooks/error_codes.py` prints what each code means. Sizes are channels x W x H x D;
the volumes of a series are channels. The table is made, and checked by the tests, with nibabel
{nibabel}.

| file | result |
|---|---|
"""


def files() -> list[Path]:
    """Files of nibabel's that might be images."""
    return sorted(
        path for path in _FOLDER.iterdir() if path.is_file() and path.suffix not in _NOT_IMAGES
    )


def outcome(path: Path) -> str:
    """What opening a file and reading all of it comes to."""
    expected = by_nibabel(path)
    refused = "no volume in nibabel either: " if expected is None else ""
    try:
        source = open_source(path)
        voxels = source.read(Selection.whole(source.shape))
    except VoxarrayError as error:
        return f"{refused}`{error.code}`"
    if expected is None:
        return "opens, but not in nibabel"
    array, affine = expected
    rounded = array.astype(voxels.dtype)
    same = voxels.shape == array.shape and np.array_equal(voxels, rounded, equal_nan=True)
    if not same or np.abs(source.affine - affine).max() > 1e-6:
        return "**differs from nibabel**"
    return f"opens: {' x '.join(map(str, source.shape))} {source.dtype}"


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Voxels (C, W, H, D) and affine; None if nibabel does not read the file as an image."""
    try:
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except Exception:  # nibabel raises what its parsers happen to raise
        return None
    if not isinstance(image, SpatialImage):  # a matrix of connectivity, say
        return None
    if array.ndim == 4 and path.suffix != ".mnc":  # whose time axis comes first already
        array = np.moveaxis(array, -1, 0)
    return array if array.ndim == 4 else array[None], image.affine


def rows() -> Iterator[str]:
    """A row of the table per file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in files():
            yield f"| `{path.name}` | {outcome(path)} |\n"


def table() -> str:
    """The document."""
    return _HEAD.format(nibabel=nib.__version__) + "".join(rows())


if __name__ == "__main__":
    TABLE.write_text(table())
