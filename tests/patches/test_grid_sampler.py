"""Grids of patches, against TorchIO 1.2.1 and against the padded volume."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from patches.conftest import archived
from patches.grids import CASES, in_memory, torchios
from voxarray.core.errors import OutOfRangeError, StateError, UnsupportedError
from voxarray.ops.padding import PADDING_MODES
from voxarray.testing.counting import count_reads


@pytest.mark.parametrize(("size", "overlap", "padding"), CASES)
def test_patches_are_torchios(size, overlap, padding):
    mine, theirs = (
        vx.GridSampler(in_memory(), size, overlap, padding),
        torchios(*(size, overlap, padding)),
    )
    found = {tuple(p["location"].tolist()): p for p in mine}
    assert len(mine) == len(theirs) == len(found)
    for patch in theirs:
        one = found[tuple(patch["location"].tolist())]
        np.testing.assert_array_equal(one["t1"]["data"], patch.t1.data)
        np.testing.assert_allclose(one["t1"]["affine"], patch.t1.affine, atol=1e-9)
    assert {tuple(row) for row in mine.locations.tolist()} == set(found)


def test_what_is_refused():
    subject = in_memory()
    for overlap, match in ((3, "even integers"), (16, "smaller"), (-2, "at least 0")):
        with pytest.raises(ValueError, match=match):
            vx.GridSampler(subject, 16, overlap)
    with pytest.raises(StateError, match="cannot be larger"):
        vx.GridSampler(subject, 31)
    with pytest.raises(UnsupportedError, match="padding mode 'nothing'") as error:
        vx.GridSampler(subject, 16, 4, "nothing")
    assert error.value.code == "UNKNOWN_PADDING"
    with pytest.raises(OutOfRangeError):
        vx.GridSampler(subject, 16)[1000]


def test_making_a_sampler_reads_nothing(tmp_path):
    subject = archived(tmp_path)
    with count_reads() as reads:
        sampler = vx.GridSampler(subject, 16, 4, "reflect")
        assert len(sampler.locations) == len(sampler)
    assert reads.voxels == 0


@pytest.mark.parametrize("mode", [*PADDING_MODES, 7.0])
@pytest.mark.filterwarnings("ignore:the m:RuntimeWarning")
def test_the_border_of_patches_is_that_of_pad(mode):
    voxels = np.random.default_rng(0).integers(0, 200, (2, 9, 7, 5)).astype("int16")
    subject = vx.Subject(t1=vx.ScalarImage(tensor=voxels))
    sampler = vx.GridSampler(subject, 5, 4, mode)
    whole = vx.Pad(2, mode)(subject.t1).numpy()
    for patch in sampler:
        x, y, z, a, b, c = patch["location"].tolist()
        np.testing.assert_array_equal(patch["t1"]["data"], whole[:, x:a, y:b, z:c])


def test_one_list_of_padding_modes_is_known_everywhere():
    image = vx.Subject(t1=vx.ScalarImage(tensor=np.ones((1, 8, 8, 8), "float32")))
    for mode in PADDING_MODES:
        vx.Pad(1, mode), vx.CropOrPad(9, mode), vx.GridSampler(image, 4, 2, mode)
    for make in (
        lambda: vx.Pad(1, "no"),
        lambda: vx.CropOrPad(9, "no"),
        lambda: vx.GridSampler(image, 4, 2, "no"),
    ):
        with pytest.raises(KeyError) as error:
            make()
        assert error.value.code == "UNKNOWN_PADDING"
