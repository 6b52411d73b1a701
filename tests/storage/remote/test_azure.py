"""Archives in Azure's object store: what an emulator of it keeps, and gives back."""

from __future__ import annotations

import shutil

import dask.config
import numpy as np
import pytest

import azure_emulator
import voxarray as vx
from voxarray.cohort.run.build import build
from voxarray.core.errors import VoxarrayError
from voxarray.storage.remote import objects, obstore_objects

pytestmark = pytest.mark.skipif(
    shutil.which(azure_emulator.AZURITE) is None,
    reason=f"{azure_emulator.AZURITE} is not installed: npm install azurite",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A URL in a container that the emulator serves."""
    with azure_emulator.azurite(tmp_path_factory.mktemp("emulator")) as options:
        obstore_objects._connected.cache_clear()
        objects.forget()
        with dask.config.set({"voxarray.remote-options": {"az": options}}):
            yield f"az://{azure_emulator.CONTAINER}"
        obstore_objects._connected.cache_clear()
        objects.forget()


def test_an_image_is_saved_verified_and_read_back(place, scans, voxels):
    url = f"{place}/one/a.ome.zarr"
    vx.convert(scans / "a.nii.gz", url)
    assert vx.verify(url, source=scans / "a.nii.gz") == []
    image = vx.ScalarImage(url)
    np.testing.assert_array_equal(image[5:20, 3:9, 2:22].numpy()[0], voxels[5:20, 3:9, 2:22])
    image.save(f"{place}/one/copy.ome.zarr")
    np.testing.assert_array_equal(vx.ScalarImage(f"{place}/one/copy.ome.zarr").numpy()[0], voxels)


def test_another_image_does_not_take_its_place(place, scans, voxels):
    url = f"{place}/two/a.ome.zarr"
    vx.convert(scans / "a.nii", url)
    other = vx.ScalarImage(tensor=voxels[None] + 1)
    with pytest.raises(VoxarrayError) as caught:
        other.save(url)
    assert caught.value.code == "EXISTS"
    other.save(url, overwrite=True)
    np.testing.assert_array_equal(vx.ScalarImage(url).numpy()[0], voxels + 1)


def test_a_cohort_is_made_and_made_again(place, scans, voxels):
    url = f"{place}/cohort"
    twin = scans / "b.nii.gz"
    twin.write_bytes((scans / "a.nii.gz").read_bytes())
    chosen = [str(twin)]
    assert build(chosen, url).converted == 1
    objects.forget()
    assert build(chosen, url).present == 1
    (subject,) = vx.Cohort(url)
    np.testing.assert_array_equal(subject["image"].numpy()[0], voxels)
