"""What every operation holds at its peak, beside what was projected before anything was read.

python benchmarks/memory.py [--size 448] [--plane 20000] [--budget "128 MiB"] [--only NAME ...]
                            [--jobs N]

Volumes, a DICOM folder, time series and planes, all beyond the budget; about 15 minutes of CPU.
`--size 812 --plane 60000 --budget "256 MiB"` is the full size: volumes of 1 GiB, planes of 6.7.
Each row runs in a fresh process, of which peak memory above the imports and an image that is open
is measured; opening is a row of its own. An operation that is refused must be refused before it
reads, and one that runs must stay within its projection.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import environments
import voxarray as vx
from harness import save
from voxarray.core.memory import format_bytes
from voxarray.testing.peak_memory import peak_above_imports

MIB = 1 << 20
SIZE, PLANE, BUDGET = 448, 20_000, "128 MiB"

OPERATIONS = {
    "open": "opened(vx.ScalarImage(path))",
    "slice": "image[..., image.shape[3] // 2].compute()",
    "corner": "image[:, :64, :64, :1].compute()",
    "plot": "image.plot(show=False)",
    "hist": "image.hist(show=False)",
    "statistics": "image.statistics()",
    "count_labels": "labels.count_labels()",
    "CropOrPad(mask)": (
        "vx.CropOrPad(16, mask_name='m')(vx.Subject(t1=image, m=labels))['t1'].shape"
    ),
    "RescaleIntensity": "vx.RescaleIntensity()(image)[:, :64, :64, :1].compute()",
    "load": "image.load()",
    "convert": "image.save(folder + '/converted.ome.zarr', overwrite=True)",
    "save": "image.save(folder + '/saved.nii', overwrite=True)",
    "to_gif": "image[:1, :, :, :].to_gif(2, 1, folder + '/film.gif')",
    "as_pil": "image[:1, :, :, 0].as_pil()",
}

_SETUP = """
import dask, logging, warnings
import matplotlib; matplotlib.use("agg")
import voxarray as vx
warnings.simplefilter("ignore")
projections = []
class Kept(logging.Handler):
    def emit(self, record):
        projections.append(record.args[0])
logger = logging.getLogger("voxarray.memory")
logger.setLevel(logging.DEBUG)
logger.addHandler(Kept())
path = {tiny!r}
def opened(image):
    image.source, image.shape
    return image
def run(image, labels, folder):
    try:
        {operation}
    except vx.VoxarrayError as error:
        return error.code
    return ""
run(opened(vx.ScalarImage(path)), opened(vx.LabelMap(path)), {folder!r})
dask.config.set({{"voxarray.memory-budget": {budget!r}}})
path = {path!r}
image = labels = None
if {opens}:  # the measurement begins with an image that is open: opening is a row of its own
    image, labels = opened(vx.ScalarImage(path)), opened(vx.LabelMap(path))
projections.clear()
"""

_RUN = """
code = run(image, labels, {folder!r})
result = {{"code": code, "projected": max(projections, default=0)}}
"""


def measured(path: Path, tiny: Path, operation: str, budget: str, scratch: Path) -> dict[str, Any]:
    """Peak and projection of one operation on one file, or the code of its refusal.

    Args:
        path: The file.
        tiny: A small one of the same format: it imports what is needed.
        operation: Name in `OPERATIONS`.
        budget: Memory budget.
        scratch: Folder for what the operation writes.
    """
    names = {"path": str(path), "tiny": str(tiny), "budget": budget, "folder": str(scratch)}
    peak = peak_above_imports(
        _SETUP.format(operation=OPERATIONS[operation], opens=operation != "open", **names),
        _RUN.format(**names),
    )
    row: dict[str, Any] = {**peak.result, "peak": peak.bytes, "cpu_seconds": peak.cpu_seconds}
    return row


def keeps_promise(row: dict[str, Any], allowance: int = 2 * MIB) -> bool:
    """Whether a row keeps the promise: refused without reading, or within its projection.

    Args:
        row: Of `measured`.
        allowance: Bytes for what no projection counts: objects of Python, pages of code that are
            touched for the first time, what the allocator keeps.
    """
    return bool(row["peak"] <= (0 if row["code"] else row["projected"]) + allowance)


def files(folder: Path, size: int, plane: int) -> Iterator[tuple[str, Path, Path]]:
    """Name, file and its tiny sibling, of every format and shape."""
    shapes = {"volume": (1, size, size, size), "series": (20, size // 4, size // 4, size // 4)}
    for kind, shape in shapes.items():
        voxels = _labels(shape)
        for suffix, write in _WRITERS.items():
            if kind == "series" and suffix not in _OF_SERIES:
                continue
            path, tiny = folder / f"{kind}{suffix}", folder / f"tiny_{kind}{suffix}"
            for target, part in ((path, voxels), (tiny, voxels[:, :8, :8, :8])):
                if not target.exists():
                    write(target, part)
            yield f"{kind}{suffix}", path, tiny
    for suffix in (".nii", ".tif"):
        path, tiny = folder / f"plane{suffix}", folder / f"tiny_volume{suffix}"
        if not path.exists():
            (_sparse_nifti if suffix == ".nii" else _sparse_tiff)(path, plane)
        yield f"plane{suffix}", path, tiny


def _labels(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Few values in blocks, which compress as a segmentation does, and a little noise."""
    grids = np.meshgrid(*(np.arange(n) // 9 for n in shape), indexing="ij", sparse=True)
    return (sum(grids) % 11 * 10).astype("int16")


def _nifti(path: Path, voxels: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(np.moveaxis(voxels, 0, -1).squeeze(), np.eye(4)), path)


def _saved(path: Path, voxels: np.ndarray) -> None:
    vx.ScalarImage(tensor=voxels).save(path, overwrite=True)


def _nrrd_gzip(path: Path, voxels: np.ndarray) -> None:
    c, w, h, d = voxels.shape
    sizes, kinds = (
        ((w, h, d), "domain domain domain")
        if c == 1
        else ((w, h, d, c), "domain domain domain list")
    )
    header = (
        f"NRRD0004\ntype: int16\ndimension: {len(sizes)}\nspace: right-anterior-superior\n"
        f"sizes: {' '.join(map(str, sizes))}\nkinds: {kinds}\nendian: little\nencoding: gzip\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,1){' none' if c > 1 else ''}\n"
        "space origin: (0,0,0)\n\n"
    )
    data = voxels.transpose(0, 3, 2, 1).astype("<i2").tobytes()
    path.write_bytes(header.encode() + gzip.compress(data, 1))


def _tiff(path: Path, voxels: np.ndarray) -> None:
    import tifffile

    pages = voxels[0].transpose(2, 1, 0)
    tifffile.imwrite(
        path, pages, tile=(256, 256), compression="zlib", photometric="minisblack", metadata=None
    )


def _dicom(folder: Path, voxels: np.ndarray) -> None:
    """One series of a slice a file, not compressed."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    partial = folder.with_suffix(".partial")
    partial.mkdir(exist_ok=True)
    data = pydicom.Dataset()
    data.SOPClassUID, data.Modality = MRImageStorage, "MR"
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.FrameOfReferenceUID = generate_uid()
    data.Columns, data.Rows = voxels.shape[1:3]
    data.PixelSpacing, data.SliceThickness = [1, 1], 1
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    for number in range(voxels.shape[3]):
        data.SOPInstanceUID, data.InstanceNumber = generate_uid(), number + 1
        data.ImagePositionPatient = [0, 0, number]
        data.PixelData = np.ascontiguousarray(voxels[0, :, :, number].T).tobytes()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(partial / f"{number:04}.dcm", enforce_file_format=True)
    partial.rename(folder)


_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".nrrd": _nrrd_gzip,
    ".mha": _saved,
    ".mgz": _saved,
    ".tif": _tiff,
    ".dicom": _dicom,
    ".ome.zarr": _saved,
}
_OF_SERIES = (".nii", ".nii.gz", ".ome.zarr")


def _sparse_nifti(path: Path, side: int) -> None:
    header = nib.Nifti2Header()
    header.set_data_dtype("int16")
    header.set_data_shape((side, side, 1))
    header["vox_offset"], header["magic"] = 544, b"n+2\0\r\n\x1a\n"
    header.set_sform(np.eye(4), 1)
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(544 + 2 * side * side)


def _sparse_tiff(path: Path, side: int) -> None:
    import tifffile

    tile = np.zeros((256, 256), "int16")
    number = (-(-side // 256)) ** 2
    tifffile.imwrite(
        path,
        (tile for _ in range(number)),
        shape=(side, side),
        dtype="int16",
        tile=(256, 256),
        compression="zlib",
        photometric="minisblack",
        metadata=None,
        bigtiff=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of a volume")
    parser.add_argument("--plane", type=int, default=PLANE, help="pixels along a side of a plane")
    parser.add_argument("--budget", default=BUDGET)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names, such as plane.nii")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are measured at a time")
    options = parser.parse_args(arguments)
    folder = environments.BENCH / f"memory-{options.size}-{options.plane}"
    folder.mkdir(parents=True, exist_ok=True)
    table: dict[str, dict[str, Any]] = {}
    cells = [
        (name, operation, path, tiny)
        for name, path, tiny in files(folder, options.size, options.plane)
        for operation in OPERATIONS
        if not options.only or any(part in f"{name} {operation}" for part in options.only)
    ]

    def measure(cell: tuple[str, str, Path, Path]) -> dict[str, Any]:
        _, operation, path, tiny = cell
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            return measured(path, tiny, operation, options.budget, Path(scratch))

    with ThreadPoolExecutor(options.jobs) as pool:
        for (name, operation, *_), row in zip(cells, pool.map(measure, cells), strict=True):
            table.setdefault(name, {})[operation] = row
            projection = row["code"] or f"projected {format_bytes(row['projected'])}"
            verdict = "" if keeps_promise(row) else "  BROKEN"
            peak = format_bytes(row["peak"])
            print(f"{name + ' ' + operation:40} {peak:>10}  {projection}{verdict}", flush=True)
    content = {
        "size": options.size,
        "plane": options.plane,
        "budget": options.budget,
        "rows": table,
        "broken": [
            f"{name} {operation}"
            for name, rows in table.items()
            for operation, row in rows.items()
            if not keeps_promise(row)
        ],
    }
    usual = (options.size, options.plane, options.budget) == (SIZE, PLANE, BUDGET)
    trial = not usual or bool(options.only)
    save("memory", content, (environments.OWN,), trial=trial)


if __name__ == "__main__":
    main()
