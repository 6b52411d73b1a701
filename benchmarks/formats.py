"""Reading files as they are: patches of ``.nii`` and ``.nii.gz``, passes over them, DICOM folders.

python benchmarks/formats.py [--size 512] [--patch 96] [--rounds 5] [--slices 1000]
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK

import volumes
import voxarray as vx
from environments import BENCH, OWN, python_of
from harness import HERE, left_out, save
from patches import PATCH, PATCHES_PER_ROUND, SIZE
from timing import medians, report, seconds
from volumes import Box
from voxarray.formats.dicom.read import open_dicom
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection
from voxarray.testing.peak_memory import peak_above_imports
from voxarray.testing.synthetic import Phantom

SLICES = 1000
GRID = 4
"""Patches along each axis of a pass."""

TORCHIO2_PATCHES = 8
"""Of the pass that are measured; the others take as long."""

TINY = (32, 32, 32)

_TEMPLATE = Path(nib.__file__).parent / "nicom/tests/data/0.dcm"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each side of the scan")
    parser.add_argument("--patch", type=int, default=PATCH, help="voxels along each side")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each reader")
    parser.add_argument("--slices", type=int, default=SLICES, help="files in the DICOM folder")
    options = parser.parse_args(arguments)
    volume = volumes.phantom("head", (options.size,) * 3)
    content = {
        "size": options.size,
        "patch": options.patch,
        "slices": options.slices,
        "nii": _patches(volume, ".nii", options.patch, options.rounds),
        "nii.gz": _patches(volume, ".nii.gz", options.patch, options.rounds),
        "pass": _pass(volume),
        "dicom": _dicom(options.slices, options.rounds),
    }
    trial = (options.size, options.patch, options.slices) != (SIZE, PATCH, SLICES)
    save("formats", content, (OWN, "tio2"), trial=trial)


def _patches(volume: Phantom, suffix: str, patch: int, rounds: int) -> dict[str, float]:
    """Milliseconds per patch, (W, H, D) or a permuted view of that, in memory of its own."""
    path = volumes.scan(volume, suffix)
    source, image = open_source(path), vx.ScalarImage(path)
    everything = Selection.whole(source.shape)
    stored = nib.load(path).dataobj
    if suffix == ".nii":
        limit = np.memmap(path, stored.dtype, "r", stored.offset, stored.shape, order="F")
    else:
        limit = source.read(everything)[0]  # what the cache holds
    contenders: dict[str, Callable[[Box], Any]] = {
        "np.memmap and copy" if suffix == ".nii" else "RAM: slice and copy": (
            lambda box: limit[box].copy(order="K")
        ),
        "voxarray": lambda box: np.array(source.read(everything[box]), order="K"),
        "voxarray: image[...].data": lambda box: image[box].data,
    }
    if suffix == ".nii":
        contenders["voxarray"] = lambda box: source.read(everything[box])  # its own memory already
        contenders["nibabel: dataobj[...]"] = lambda box: stored[box]
        contenders["SimpleITK: extract"] = lambda box: _by_simpleitk(path, box)
    boxes = volumes.boxes(volume.shape[0], patch, PATCHES_PER_ROUND)
    for read in contenders.values():
        for box in boxes:  # warms, and shows that all read the same
            assert np.array_equal(np.squeeze(np.asarray(read(box))), limit[box])

    def all_boxes(read: Callable[[Box], Any]) -> Callable[[], object]:
        return lambda: [read(box) for box in boxes]

    timings = medians({name: all_boxes(read) for name, read in contenders.items()}, rounds)
    return report(
        {name: s / len(boxes) * 1e3 for name, s in timings.items()}, f"ms a patch of {suffix}"
    )


def _by_simpleitk(path: Path, box: Box) -> np.ndarray:
    """A region, which its reader of NIfTI cuts out of the whole volume."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetExtractIndex([side.start for side in box])
    reader.SetExtractSize([side.stop - side.start for side in box])
    return SimpleITK.GetArrayFromImage(reader.Execute()).T


def _pass(volume: Phantom) -> dict[str, Any]:
    """All patches of a grid over a ``.nii.gz`` that is not loaded, in fresh processes."""
    source = str(volumes.scan(volume))
    patch = volume.shape[0] // GRID
    environments = {
        "voxarray": {},
        # As for a volume that is too large to be cached as one block: slabs, by a seek index.
        "voxarray, by seek index": {"DASK_VOXARRAY__GZIP_WHOLE_LIMIT": "1 MiB"},
    }
    result = {n: _grid("voxarray", OWN, (source, patch), env) for n, env in environments.items()}
    with left_out("TorchIO 2"):
        result["TorchIO 2"] = _grid("torchio2", "tio2", (source, patch, TORCHIO2_PATCHES), {})
    for name, figures in result.items():
        print(f"  {name:<44}{figures['seconds']:9.3f} s a pass", flush=True)
    return result


def _grid(
    module: str, environment: str, arguments: tuple[object, ...], variables: dict[str, str]
) -> dict[str, Any]:
    setup = f"import sys; sys.path.insert(0, {str(HERE / 'contenders')!r}); import grid_{module}"
    tiny = str(volumes.scan(volumes.phantom("head", TINY)))
    setup += f"\ngrid_{module}.run({tiny!r}, 16)"  # imports what is imported on first use
    call = f"result = grid_{module}.run(*{arguments!r})"
    peak = peak_above_imports(
        setup, call, python=python_of(environment), environment=variables, timeout=600
    )
    return {**peak.result, "peak_mib": peak.bytes / 2**20}


def _dicom(count: int, rounds: int) -> dict[str, float]:
    """Seconds to open a folder of slices by their headers, and to read one plane of it."""
    folder = _series(count)

    def by_pydicom() -> None:
        for entry in os.scandir(folder):
            pydicom.dcmread(entry.path, stop_before_pixels=True)

    contenders: dict[str, Callable[[], object]] = {
        "voxarray: headers": lambda: open_dicom(str(folder)),
        "pydicom: headers": by_pydicom,
        "SimpleITK: order of the files": lambda: SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(
            str(folder)
        ),
    }
    source = open_dicom(str(folder))
    _, width, height, depth = source.shape
    plane = Selection.box((0, 1), (0, width), (0, height), (depth // 2, depth // 2 + 1))
    contenders["voxarray: one plane"] = lambda: source.read(plane)
    figures = {
        name: statistics.median(seconds(run) for _ in range(1 if "pydicom" in name else rounds))
        for name, run in contenders.items()
    }
    return report(figures, f"s, {count} slices")


def _series(count: int) -> Path:
    """Slices with a scanner's header of some hundred elements, and its 226 KB a file."""
    folder = BENCH / "data" / f"dicom-{count}"
    if not folder.exists():
        print(f"writing {folder.name}", flush=True)
        partial = folder.with_name("partial-" + folder.name)
        partial.mkdir(parents=True, exist_ok=True)
        dataset = pydicom.dcmread(_TEMPLATE)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]  # each file is a slice here
        # The scanner's own elements count slices, too: under a name that nobody asks for they do
        # not, and the header stays as long as it is.
        csa = dataset[0x0029, 0x1010]
        csa.value = csa.value.replace(b"NumberOfImagesInMosaic", b"NumberOfImagesInSeries")
        if (0x0019, 0x100A) in dataset:
            del dataset[0x0019, 0x100A]
        for number in range(count):
            dataset.InstanceNumber = number + 1
            dataset.SOPInstanceUID = f"1.2.3.{number + 1}"
            dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            dataset.ImagePositionPatient = [-100, -100, 1.5 * number]
            dataset.save_as(partial / f"{number:05d}.dcm")
        partial.rename(folder)
    return folder


if __name__ == "__main__":
    main()
