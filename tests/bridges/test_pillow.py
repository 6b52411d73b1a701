"""Single slices as Pillow images."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from scans import voxels, write
from voxarray.testing.counting import count_reads


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pillow(channels):
    array = np.linspace(-50, 300, channels * 12).reshape(channels, 3, 4, 1).astype("float32")
    image = vx.ScalarImage(tensor=array)
    upright, lying = image.as_pil(), image.as_pil(transpose=False)
    assert (upright.size, lying.size) == ((3, 4), (4, 3))
    assert upright.mode == ("RGBA" if channels == 4 else "RGB")
    expected = np.clip(array, 0, 255).astype("uint8")[..., 0]
    expected = expected.repeat(3, axis=0) if channels == 1 else expected
    np.testing.assert_array_equal(np.asarray(upright), expected.transpose(2, 1, 0))
    np.testing.assert_array_equal(np.asarray(lying), expected.transpose(1, 2, 0))


def test_pillow_of_a_slice_reads_the_slice(tmp_path):
    path = write(tmp_path / "a.nii", voxels((1, 5, 6, 7)))
    image = vx.ScalarImage(path)
    with count_reads() as reads:
        image[..., 3].as_pil()
    assert reads.voxels == 5 * 6
    with pytest.raises(RuntimeError, match="not 2D"):
        image.as_pil()
    with pytest.raises(vx.UnsupportedError, match="this image has 2 of type"):
        vx.ScalarImage(tensor=voxels((2, 5, 6, 1))).as_pil()
    holes = np.array([[np.nan, 7.0]], "float32")[None, ..., None]
    assert np.asarray(vx.ScalarImage(tensor=holes).as_pil())[:, 0, 0].tolist() == [0, 7]
