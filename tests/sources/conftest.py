from __future__ import annotations

import pytest

from voxarray.sources.nifti import gz as nifti_gz


@pytest.fixture(autouse=True)
def _empty_caches():
    nifti_gz.forget()
    yield
    nifti_gz.forget()
