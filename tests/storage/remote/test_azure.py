"""Archives in Azure's object store: what an emulator of it keeps, and gives back."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

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


def test_saving_onto_another_image_needs_overwrite(place, scans, voxels):
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


def labels(voxels, seed):
    drawn = np.random.default_rng(seed).integers(0, 3, (1, *voxels.shape)).astype("u1")
    return vx.LabelMap(tensor=drawn, affine=np.eye(4))


def test_label_maps_come_and_go(place, voxels):
    url = f"{place}/layers/a.ome.zarr"
    vx.ScalarImage(tensor=voxels[None]).save(url)
    identity = vx.Archive(url).identity
    vx.Archive(url).add_labels("tumour", labels(voxels, 1), names={1: "core", 2: "rim"})
    objects.forget()
    archive = vx.Archive(url)
    assert (archive.identity, archive.generation) == (identity, 1)
    np.testing.assert_array_equal(archive.labels["tumour"].numpy(), labels(voxels, 1).numpy())
    np.testing.assert_array_equal(archive.image.numpy()[0], voxels)
    archive.remove_labels("tumour")
    objects.forget()
    assert list(vx.Archive(url).labels) == []
    assert vx.verify(url) == []


def test_writers_of_label_maps_at_once_lose_nothing(place, voxels):
    url = f"{place}/writers/a.ome.zarr"
    vx.ScalarImage(tensor=voxels[None]).save(url)

    def add(number):
        vx.Archive(url).add_labels(f"layer{number}", labels(voxels, number))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(12)))
    objects.forget()
    archive = vx.Archive(url)
    assert list(archive.labels) == sorted(f"layer{number}" for number in range(12))
    for number in range(12):
        seen = archive.labels[f"layer{number}"].numpy()
        np.testing.assert_array_equal(seen, labels(voxels, number).numpy())
    assert vx.verify(url) == []


def test_subjects_are_saved_and_their_patches_read(place, voxels):
    subject = vx.Subject(
        t1=vx.ScalarImage(tensor=voxels[None]), seg=labels(voxels, 3), age=41, name="one"
    )
    subject.save(f"{place}/subjects/one")
    objects.forget()
    scan = vx.ScalarImage(f"{place}/subjects/one/t1.ome.zarr")
    label_map = vx.LabelMap(f"{place}/subjects/one/seg.ome.zarr")
    again = vx.Subject(t1=scan, seg=label_map)
    np.testing.assert_array_equal(again["t1"].numpy()[0], voxels)
    np.testing.assert_array_equal(again["seg"].numpy(), labels(voxels, 3).numpy())
    dataset = vx.PatchDataset([again], vx.UniformSampler(8), patches_per_image=6)
    for patch in dataset:
        x, y, z = (int(n) for n in patch["location"][:3])
        expected = voxels[x : x + 8, y : y + 8, z : z + 8]
        np.testing.assert_array_equal(patch["t1"]["data"][0].numpy(), expected)
