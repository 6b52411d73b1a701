"""Every DICOM file that pydicom and nibabel bundle: compared with them, or refused by name.

``python tests/samples/dicom_coverage.py`` writes ``notebooks/dicom-coverage.md``; a test
checks that it is still true.
"""

from __future__ import annotations

import gzip
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk

from voxarray.core.errors import VoxarrayError
from voxarray.formats.dicom.read import open_dicom
from voxarray.geometry.selection import Selection

TABLE = Path(__file__).parents[2] / "notebooks" / "dicom-coverage.md"
_STACKS = {"philips_mprage"}
"""Frames that make one volume, in the order of the slices."""

_FOLDER = Path(pydicom.__file__).parent / "data"
_NIBABEL = Path(nib.__file__).parent

_HEAD = """\
# DICOM files that pydicom and nibabel bundle

Each file is opened alone; files of nibabel that are gzipped (`.gz`) are unzipped first.
"opens" means that its voxels equal those of `pydicom.pixel_array` after slope and intercept, or
those of SimpleITK where pydicom has no decoder (lossless JPEG). Every other file is refused by an
error, whose code is shown; `python notebooks/error_codes.py` prints what each code means. Sizes are
channels x W x H x D. The table is made, and checked by the tests, with pydicom {pydicom}, nibabel
{nibabel} and voxarray's extras `dicom` and `plot`.

Siemens mosaics are unpacked, whatever Image Type says, if the header states three things: the
number of slices (the CSA header and element (0019,100A) have to agree), the direction from slice
to slice (CSA header in the format SV10) and their distance (Spacing Between Slices). Otherwise
they are refused (`MOSAIC`); nothing is guessed. Voxels and affine are compared with those of
nibabel and dcm2niix. The tests use two headers from a real scanner, which nibabel ships with
blank pixels, and fill in pixels of their own.

In images with the Photometric Interpretation MONOCHROME1, small values are shown bright. Their
voxels are those of the file, as in pydicom: SimpleITK inverts them, voxarray does not. A warning
says so (`MONOCHROME1`), and `image["photometric_interpretation"]` is `MONOCHROME1`.

| file | result |
|---|---|
"""


def bundled_files() -> list[Path]:
    """Files that pydicom ships; its source code and descriptions left out."""
    found = (path for path in _FOLDER.rglob("*") if path.is_file())
    known = {".py", ".pyc", ".json", ".txt", ".md", ".typed"}
    return sorted(path for path in found if path.suffix not in known)


def files_of_nibabel(folder: Path) -> list[tuple[str, Path]]:
    """DICOM files that nibabel ships, by their names there; deflated ones are inflated into a
    folder."""
    found = []
    for path in sorted([*_NIBABEL.rglob("*.dcm"), *_NIBABEL.rglob("*.dcm.gz")]):
        name = path.relative_to(_NIBABEL).as_posix()
        if path.suffix == ".gz":
            inflated = folder / path.stem
            inflated.write_bytes(gzip.decompress(path.read_bytes()))
            path = inflated
        found.append((name, path))
    return found


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
    with warnings.catch_warnings():  # one of nibabel's says explicit where it is implicit
        warnings.simplefilter("ignore", UserWarning)
        dataset = pydicom.dcmread(path)
    try:
        pixels = dataset.pixel_array
    except RuntimeError:  # nothing for pydicom decodes it
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    if "MOSAIC" in dataset.get("ImageType", ()):
        pixels = tiles(pixels, int(dataset[0x0019100A].value))
    if int(dataset.get("SamplesPerPixel", 1)) == 1:
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    slope = dataset.get("RescaleSlope", dataset.get("DoseGridScaling", 1))
    scaled = pixels * float(slope) + float(dataset.get("RescaleIntercept", 0))
    planes = scaled.transpose(3, 2, 1, 0)
    if path.stem in _STACKS:
        return planes
    return (
        planes
        if "GridFrameOffsetVector" in dataset
        or len(pixels) == 1
        or "MOSAIC" in dataset.get("ImageType", ())
        else planes.transpose(3, 1, 2, 0)
    )


def tiles(plane: np.ndarray, count: int) -> np.ndarray:
    """Slices (D, H, W) of a mosaic."""
    across = int(np.ceil(np.sqrt(count)))
    halves = [np.split(row, across, axis=1) for row in np.split(plane, across)]
    return np.stack([tile for row in halves for tile in row])[:count]


def rows() -> Iterator[str]:
    """A row of the table per file."""
    for path in bundled_files():
        yield f"| `{path.relative_to(_FOLDER).as_posix()}` | {outcome(path)} |\n"
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files_of_nibabel(Path(folder)):
            yield f"| nibabel: `{name}` | {outcome(path)} |\n"


def table() -> str:
    """The document."""
    return _HEAD.format(pydicom=pydicom.__version__, nibabel=nib.__version__) + "".join(rows())


if __name__ == "__main__":
    TABLE.write_text(table())
