"""Made cohorts: small scans in five formats, and scans that are bad in twenty ways."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from click.testing import CliRunner, Result

from voxarray.archive.source import open_archive
from voxarray.cli import main
from voxarray.cohort.options import InputSelection
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.cohort.run.result import CohortResult
from voxarray.geometry.selection import Selection

AFFINE = np.array([[0, -1.0, 0, 9], [0, 0, 2.0, -4], [1.5, 0, 0, 3], [0, 0, 0, 1]])
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mgz")
PATTERNS = ("--image-pattern", "t1={subject}/t1.nii", "--label-pattern", "seg={subject}/seg.nii")
"""Of scans with a label map each: `label`."""


def run(*arguments: object) -> Result:
    """The command line, in this process."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def array(seed: int, shape: tuple[int, ...] = (12, 10, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16)


def save(path: Path, seed: int = 0, shape: tuple[int, ...] = (12, 10, 8)) -> Path:
    """A scan of small numbers, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = array(seed, shape)
    if path.name.endswith((".nii", ".nii.gz", ".mgz")):
        kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(voxels, AFFINE), path)
    else:
        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
        image.SetSpacing((1.5, 1.0, 2.0))
        sitk.WriteImage(image, str(path))
    return path


def voxels(path: Path) -> np.ndarray:
    opened = open_archive(path)
    return opened.read(Selection.whole(opened.shape))[0]


def archives(cohort: Path) -> list[Path]:
    return sorted((cohort / "subjects").iterdir())


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def truth(cohort: Path) -> dict[str, str]:
    """Digests of what must be the same however often a run was broken off."""
    files = tree(cohort)
    wanted = ("subjects/", "catalogue.parquet", "plan.json")
    return {name: digest for name, digest in files.items() if name.startswith(wanted)}


# --- Bad in twenty ways --------------------------------------------------------------------------


def _nifti(path: Path) -> bytearray:
    save(path.with_name("good.nii"), 5)
    data = bytearray(path.with_name("good.nii").read_bytes())
    path.with_name("good.nii").unlink()
    return data


def _edited(suffix: str, offset: int, dtype: str, *values: object) -> Callable[[Path], None]:
    """A NIfTI file with other numbers at a place of its header."""

    def make(path: Path) -> None:
        data = _nifti(path)
        raw = np.array(values, dtype).tobytes()
        data[offset : offset + len(raw)] = raw
        path.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)

    return make


def _cut(keep: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        data = _nifti(path)
        path.write_bytes(data[: int(len(data) * keep)])

    return make


def _cut_gzip(path: Path) -> None:
    data = gzip.compress(_nifti(path))
    path.write_bytes(data[: len(data) // 2])


def _wrong_crc(path: Path) -> None:
    data = bytearray(gzip.compress(_nifti(path)))
    data[-8] ^= 1
    path.write_bytes(data)


def _wrong_length(path: Path) -> None:
    data = bytearray(gzip.compress(_nifti(path)))
    data[-4] ^= 1
    path.write_bytes(data)


def _text(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content)


def _detached(path: Path) -> None:
    path.write_text(
        "NDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementDataFile = ../../secret.raw\n"
    )


def _bomb(path: Path) -> None:
    data = _nifti(path)[:352]
    data[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)))


BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "cut": (".nii", _cut(0.6), "TRUNCATED"),
    "cut-header": (".nii", _cut(0.05), "TRUNCATED"),
    "cut-gzip": (".nii.gz", _cut_gzip, "TRUNCATED"),
    "wrong-crc": (".nii.gz", _wrong_crc, "BAD_CRC"),
    "wrong-length": (".nii.gz", _wrong_length, "BAD_CRC"),
    "no-gzip": (".nii.gz", _text(b"\x1f\x8bnonsense"), "BAD_GZIP"),
    "empty": (".nii", _text(b""), "TRUNCATED"),
    "no-nifti": (".nii", _text(b"x" * 4000), "NOT_NIFTI"),
    "negative-size": (".nii", _edited(".nii", 42, "<i2", -8), "BAD_DIMS"),
    "no-size": (".nii", _edited(".nii", 42, "<i2", 0), "BAD_DIMS"),
    "huge-size": (".nii", _edited(".nii", 42, "<i2", 32767, 32767, 32767), "DIMS_EXCEED_FILE"),
    "bomb": (".nii.gz", _bomb, "DIMS_EXCEED_FILE"),
    "bad-offset": (".nii", _edited(".nii", 108, "<f4", 1e9), "BAD_OFFSET"),
    "nan-offset": (".nii", _edited(".nii", 108, "<f4", np.nan), "BAD_OFFSET"),
    "bad-type": (".nii", _edited(".nii", 70, "<i2", 1536), "UNSUPPORTED_DTYPE"),
    "bad-affine": (".nii", _edited(".nii", 280, "<f4", np.nan), "BAD_AFFINE"),
    "flat-affine": (".nii", _edited(".nii", 280, "<f4", *[0] * 12), "BAD_AFFINE"),
    "bad-slope": (".nii", _edited(".nii", 112, "<f4", np.inf), "BAD_SCALE"),
    "no-nrrd": (".nrrd", _text(b"not a header\n"), "NOT_NRRD"),
    "elsewhere": (".mhd", _detached, "OUTSIDE_ROOT"),
}
"""Per way of being bad: suffix, what makes such a file, and the code of its failure."""


def make_cohort(folder: Path, good: int, bad: int) -> dict[str, str]:
    """Write scans in five formats and bad ones in twenty ways; says the code of each bad file."""
    for number in range(good):
        save(folder / f"site-{number % 7}" / f"scan-{number:04}{SUFFIXES[number % 5]}", number)
    codes = {}
    ways = list(BAD.items())
    for number in range(bad):
        name, (suffix, make, code) = ways[number % len(ways)]
        path = folder / "bad" / f"{name}-{number:04}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        codes[f"bad/{path.name}"] = code
    return codes


def report_codes(cohort: Path) -> dict[str, str]:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(cohort / "report.parquet").to_pylist()
    return {row["file"]: row["code"] for row in rows}


def plan_of(cohort: Path) -> dict:
    return json.loads((cohort / "plan.json").read_bytes())


def alter(path: Path) -> None:
    """Change the last voxel of an uncompressed file, which becomes newer by a second at least."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    touch(path)


def touch(path: Path) -> None:
    """Make a file newer by a second."""
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def label(path: Path, value: int = 1) -> Path:
    """A label map of half of a scan of `save`."""
    marks = np.zeros((12, 10, 8), np.uint8)
    marks[:6] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(marks, AFFINE), path)
    return path


def again(folder: Path, *more: object) -> Result:
    """Convert ``in`` to ``out``, two folders below this one."""
    return run("convert", folder / "in", folder / "out", *PATTERNS, *more)


def converted_by_a_worker(folder: Path) -> CohortResult:
    """The same as `again`, in another process."""
    images, labels = (("t1", "{subject}/t1.nii"),), (("seg", "{subject}/seg.nii"),)
    choice, workers = InputSelection(images, labels), ExecutionOptions(workers=1)
    return build(folder / "in", folder / "out", choice=choice, run=workers)
