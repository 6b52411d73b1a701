"""Files to open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from numpy.typing import NDArray

from scans import AFFINE, voxels, write


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write(tmp_path / "scan.nii", voxels())


@pytest.fixture
def save_nifti(tmp_path: Path) -> Callable[..., Path]:
    def save(name: str, array: NDArray, affine: NDArray = AFFINE, **header: object) -> Path:
        return write(tmp_path / name, array, affine, **header)

    return save
