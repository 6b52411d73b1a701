from __future__ import annotations

import pytest

from voxarray.formats.nifti import gzip_source as nifti_gz


@pytest.fixture(autouse=True)
def _empty_caches():
    nifti_gz.forget()
    yield
    nifti_gz.forget()
