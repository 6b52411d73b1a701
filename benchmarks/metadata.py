"""Metadata operations of parts of a cohort: what a file system is asked beside bytes.

python benchmarks/metadata.py

Counted are the calls of Python that name a path below the scans or the cohort: stat, open, listdir,
scandir, mkdir, rmdir, rename, unlink and link. Parts of two sizes tell what an image costs and what
a part costs that has none.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from harness import fresh_output

_PART = """
import os, sys
roots, of, seen = tuple(sys.argv[1:3]), int(sys.argv[3]), [0]
def counted(name):
    original = getattr(os, name)
    def call(path=".", *more, **options):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(roots):
            seen[0] += 1
        return original(path, *more, **options)
    setattr(os, name, call)
from voxarray.cohort.run.build import ExecutionOptions, build
for name in ("stat", "lstat", "listdir", "scandir", "mkdir", "rmdir", "rename", "unlink", "link"):
    counted(name)
sys.addaudithook(lambda event, of: seen.__setitem__(
    0, seen[0] + (event == "open" and str(of[0]).startswith(roots))))
made = build(sys.argv[1], sys.argv[2], run=ExecutionOptions(partition=(1, of)))
assert not made.failed, made
print(seen[0], made.converted, made.present)
"""
SCANS = 24


@dataclass(frozen=True)
class Operations:
    """Metadata operations.

    Attributes:
        task: Of a part, before its first image.
        converted: For each image that is converted.
        up_to_date: For each that is there already.
    """

    task: float
    converted: float
    up_to_date: float


def operations() -> Operations:
    """Counts of parts of a cohort of small scans, each in a fresh process."""
    folder = fresh_output("metadata")
    scans, cohort = folder / "scans", folder / "cohort"
    scans.mkdir(parents=True)
    for number in range(SCANS):
        voxels = np.full((8, 8, 8), number, np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), scans / f"{number:02}.nii.gz")
    _voxarray("plan", scans, cohort)
    small, large = SCANS // 12, SCANS // 2
    few, more = _count(scans, cohort, 12), _count(scans, cohort, 2)
    # The second part holds the images of the first, which are up to date by then.
    _voxarray("convert", scans, cohort)
    present, all_present = _count(scans, cohort, 12), _count(scans, cohort, 2)
    up_to_date = (all_present - present) / (large - small)
    task = present - small * up_to_date
    converted = (more - small * up_to_date - task) / (large - small)
    assert few >= task
    return Operations(task, converted, up_to_date)


def _voxarray(command: str, *paths: Path) -> None:
    command_line = [sys.executable, "-m", "voxarray", command, *map(str, paths), "--quiet"]
    subprocess.run(command_line, check=True)


def _count(scans: Path, cohort: Path, parts: int) -> int:
    command = [sys.executable, "-c", _PART, str(scans), str(cohort), str(parts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


if __name__ == "__main__":
    print(operations())
