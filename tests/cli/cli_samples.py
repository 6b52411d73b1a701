"""Commands that are run in this process, scans for them, and what they made."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from click.testing import CliRunner, Result

from voxarray.archive.source import open_archive
from voxarray.cli import main
from voxarray.geometry.selection import Selection

AFFINE = np.array([[0, -1.0, 0, 9], [0, 0, 2.0, -4], [1.5, 0, 0, 3], [0, 0, 0, 1]])


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def save(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 18, 16)) -> Path:
    """A NIfTI file of small labels-like numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 4, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


def made(folder: Path) -> list[Path]:
    """Archives of a cohort, in the order of their names."""
    return sorted((folder / "subjects").iterdir())


def voxels(path: Path) -> np.ndarray:
    opened = open_archive(path)
    return opened.read(Selection.whole(opened.shape))[0]
