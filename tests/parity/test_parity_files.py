"""Every member on the same files: the file's truth, TorchIO's answer and ours.

Ours is compared with what was written into the file, TorchIO's with ours. Where they differ, a
row of the table of differences names the reason, and the difference must be there.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from parity_members import LABELS, READ, UNREAD, answer, same
from parity_samples import MGH, Sample, samples

import voxarray as vx
from voxarray.core.promotion import tensor_dtype
from voxarray.formats.registry import known_suffixes

tio = pytest.importorskip("torchio")

QUICK = samples(every=False)
REST = [sample for sample in samples(every=True) if sample not in QUICK]


def differences(sample: Sample, member: str) -> str | None:
    """Row of the table that explains why TorchIO's answer is another."""
    if sample.suffix in MGH and sample.dtype != "float32":
        # int32 and float32 have the same size.
        sized = () if sample.dtype in ("int32", "uint16") else ("itemsize", "memory")
        if member in ("tensor", "as_sitk", *sized):
            return "integers-as-float32"
    if member == "get_bounds" and sample.space == "oblique":
        return "bounds-of-two-corners"
    if sample.dtype == "uint64" and member in ("tensor", "as_sitk", "count_nonzero"):
        return "uint64"
    if sample.dims == "2d" and member.startswith("as_pil") and sample.dtype in ("int8", "uint64"):
        return "uint64" if sample.dtype == "uint64" else "int8-to-pillow"
    return None


@pytest.mark.parametrize("sample", QUICK, ids=str)
def test_file(sample, tmp_path):
    check(sample, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("sample", REST, ids=str)
def test_every_file(sample, tmp_path):
    check(sample, tmp_path)


def check(sample, folder):
    if sample.suffix not in known_suffixes() and sample.suffix != "folder":
        pytest.skip(f"{sample.suffix} is not registered")
    path = sample.write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(sample, vx.ScalarImage(path), tio.ScalarImage(path), {**UNREAD, **READ})
        if sample.dims != "4d":
            compare(sample, vx.LabelMap(path), tio.LabelMap(path), LABELS)
    truth = vx.ScalarImage(path)
    assert truth.dtype == sample.dtype
    np.testing.assert_array_equal(truth.numpy(), sample.voxels)
    np.testing.assert_allclose(truth.affine, sample.affine, rtol=1e-6, atol=2e-6)
    assert truth.numpy().dtype == tensor_dtype(np.dtype(sample.dtype))


def compare(sample, ours, theirs, members):
    for name, ask in members.items():
        our, their = answer(ask, ours), answer(ask, theirs)
        reason = differences(sample, name)
        if reason is None:
            assert same(our, their), f"{name} of {sample}: ours {our}, TorchIO's {their}"
        else:
            assert not same(our, their), f"{name} of {sample}: {reason} is a difference no more"
