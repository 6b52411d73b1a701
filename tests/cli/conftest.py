from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cli_samples import save


@pytest.fixture
def scan(tmp_path) -> Path:
    return save(tmp_path / "scan.nii.gz")


@pytest.fixture
def truth(scan) -> np.ndarray:
    return np.asanyarray(nib.load(scan).dataobj)
