"""NIfTI files that other people made: those of nibabel's own tests, and public scans if present."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import pytest

_SHARED = Path(__file__).parents[2] / "../shared/data/nifti"
_NIBABEL = Path(nib.__file__).parent / "tests/data"

NOT_VOLUMES = {"row_major.dconn.nii"}  # a connectivity matrix of more than four dimensions


def real_files():
    found = sorted([*_NIBABEL.glob("*.nii"), *_NIBABEL.glob("*.nii.gz")])
    found = [path for path in found if path.name not in NOT_VOLUMES]
    scans = sorted(_SHARED.glob("*.nii.gz"))
    missing = pytest.param(None, marks=pytest.mark.skip(reason=f"no scans in {_SHARED}"))
    return [pytest.param(path, id=path.name) for path in [*found, *scans]] + (
        [] if scans else [missing]
    )
