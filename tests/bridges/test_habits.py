"""What people of other libraries try first works, or says how."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchio as tio
import xarray as xr
from torch.utils.data import DataLoader

import voxarray as vx
from voxarray.testing.counting import count_reads


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx", ".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_xarray_finds_the_engine(scan, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    scan.save(path)
    opened = xr.open_dataset(path)["image"]
    np.testing.assert_array_equal(opened.values, scan.numpy())
    np.testing.assert_allclose(opened.vox.affine, scan.affine, atol=1e-5)


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "scipy"])
def test_every_engine_of_netcdf_holds_it(scan, tmp_path, engine):
    dataset = scan.array.to_dataset(name="image")
    dataset.to_netcdf(tmp_path / "a.nc", engine=engine)
    opened = xr.open_dataset(tmp_path / "a.nc", engine=engine)["image"].vox.reattach()
    np.testing.assert_array_equal(opened.values, scan.numpy())
    np.testing.assert_allclose(opened.vox.affine, scan.affine)


def test_what_takes_coordinates_one_by_one_names_the_way(scan, tmp_path):
    for operation in (
        lambda: xr.map_blocks(lambda part: part * 2, scan.array),
        lambda: scan.array.to_dataset(name="image").to_dataframe(),
        lambda: xr.open_mfdataset([scan.path, scan.path]),
    ):
        with pytest.raises(vx.PandasIndexError, match=r"vox\.detach\(\)"):
            operation()
    together = xr.open_mfdataset([scan.path, scan.path], combine="nested", concat_dim="subject")
    assert together["image"].dims[0] == "subject"
    np.testing.assert_allclose(together["image"].vox.affine, scan.affine)


def test_shortcuts_of_the_accessor(scan, tmp_path):
    array = scan.array
    resampled = array.vox.resample(3)
    np.testing.assert_array_equal(resampled.values, scan.resample(3).numpy())
    array.vox.save(tmp_path / "b.ome.zarr", levels=1)
    np.testing.assert_array_equal(vx.ScalarImage(tmp_path / "b.ome.zarr").numpy(), scan.numpy())
    figure = array.vox.plot(return_fig=True, show=False)
    assert len(figure.axes) == 3
    assert array.to_dataset(name="t1").vox.view().volumes[0].name == "image.nii"
    labels = (array > 300).astype("uint8").vox.to_image(label=True)
    assert isinstance(labels, vx.LabelMap)


def test_a_dataset_of_several_is_no_image(scan):
    with pytest.raises(vx.UnsupportedError) as error:
        xr.Dataset({"t1": scan.array, "t2": scan.array}).vox.plot()
    assert error.value.code == "SEVERAL_VARIABLES"


def test_torch_and_numpy_take_it_for_memory(scan):
    assert torch.equal(torch.as_tensor(scan), scan.data)
    shared = torch.from_dlpack(scan)
    assert shared.data_ptr() == scan.data.data_ptr()
    np.testing.assert_array_equal(np.from_dlpack(scan), scan.numpy())


@pytest.mark.skipif(tio.__version__ >= "2", reason="the loader of TorchIO 1")
def test_a_loader_gives_what_that_of_torchio_gives(scan):
    ours = [vx.Subject(t1=scan, seg=vx.LabelMap(scan.path), age=3, name="a") for _ in range(4)]
    theirs = [
        tio.Subject(t1=tio.ScalarImage(scan.path), seg=tio.LabelMap(scan.path), age=3, name="a")
        for _ in range(4)
    ]
    batch = next(iter(DataLoader(ours, batch_size=2)))
    oracle = next(iter(tio.SubjectsLoader(tio.SubjectsDataset(theirs), batch_size=2)))
    assert set(batch) == set(oracle)
    assert batch["name"] == oracle["name"]
    assert torch.equal(batch["age"], oracle["age"])
    for name in ("t1", "seg"):
        assert set(batch[name]) == set(oracle[name])
        assert torch.equal(batch[name]["data"], oracle[name]["data"])
        np.testing.assert_allclose(batch[name]["affine"], oracle[name]["affine"])
        assert batch[name]["stem"] == oracle[name]["stem"]


@pytest.mark.parametrize("suffix", [".nii", ".ome.zarr", ".nrrd"])
def test_monai_loads_with_it_what_it_loads_alone(scan, tmp_path, suffix):
    from monai.transforms import LoadImage

    scan.save(tmp_path / f"a{suffix}", overwrite=True)
    theirs = LoadImage(reader="NibabelReader", ensure_channel_first=True)(scan.path)
    load = LoadImage(reader=vx.MonaiReader(), ensure_channel_first=True)
    ours = load(tmp_path / f"a{suffix}")
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_monai_gets_channels_last_and_files_on_one_grid(scan, tmp_path):
    reader = vx.MonaiReader()
    stacked, meta = reader.get_data(reader.read([scan.path, scan.path]))
    assert (stacked.shape, meta["original_channel_dim"]) == ((20, 18, 16, 2), -1)
    scan[1:].save(tmp_path / "b.nii")
    with pytest.raises(vx.GridError) as error:
        reader.get_data(reader.read([scan.path, tmp_path / "b.nii"]))
    assert error.value.code == "GRIDS_DIFFER"


@pytest.mark.parametrize("suffix", [".nii.gz", ".ome.zarr"])
def test_torchio_reads_with_it(scan, tmp_path, suffix):
    scan.save(tmp_path / f"a{suffix}")
    theirs = tio.ScalarImage(tmp_path / f"a{suffix}", reader=vx.TorchioReader())
    assert torch.equal(theirs.data, scan.data)
    np.testing.assert_allclose(theirs.affine, scan.affine, atol=1e-5)


def test_what_torchio_is_given_is_its_own(scan, tmp_path):
    """As what its own reader gives: changed in place, and no other image changes."""
    scan.save(tmp_path / "a.nii.gz")
    reader = vx.TorchioReader()
    for _ in range(2):
        voxels, affine = reader(tmp_path / "a.nii.gz")
        assert torch.equal(voxels, scan.data)
        np.testing.assert_allclose(affine, scan.affine, atol=1e-5)
        voxels.zero_()
        affine[:3, 3] += 5
    theirs = tio.ScalarImage(tmp_path / "a.nii.gz", reader=reader)
    theirs.affine[0, 3] += 5


INDICES = {
    "all": ...,
    "a channel": 0,
    "a slice of channels": slice(0, 1),
    "a plane": (0, slice(None), 3),
    "ellipsis first": (..., slice(1, 9, 2)),
    "ellipsis within": (0, ..., -1),
    "box": (slice(None), slice(2, 8), slice(1, 5), slice(-4, None)),
}


@pytest.mark.parametrize("index", INDICES)
def test_torchio_2_reads_what_it_takes(scan, tmp_path, index):
    """Against NumPy: integers keep their axis, and no more is read."""
    scan.save(tmp_path / "a.nii")
    request = SimpleNamespace(path=tmp_path / "a.nii", affine=None)
    with count_reads() as reads:
        backend = vx.TorchioReader().create_backend(request)
        assert backend.shape == scan.shape
        np.testing.assert_allclose(backend.affine, scan.affine, atol=1e-5)
        assert reads.voxels == 0
        found = backend[INDICES[index]]
        assert reads.voxels == found.numel()
    items = INDICES[index] if isinstance(INDICES[index], tuple) else (INDICES[index],)
    kept = tuple(slice(one, one + 1 or None) if isinstance(one, int) else one for one in items)
    np.testing.assert_array_equal(found, scan.numpy()[kept])
    assert torch.equal(backend.to_tensor(), scan.data)


def test_torchio_2_may_set_the_affine(scan):
    theirs = torch.diag(torch.tensor([3.0, 3, 3, 1]).double())
    request = SimpleNamespace(path=scan.path, affine=theirs)
    assert torch.equal(vx.TorchioReader().create_backend(request).affine, theirs)


@pytest.mark.skipif(int(tio.__version__.split(".")[0]) < 2, reason="TorchIO 2 is not installed")
def test_torchio_2_takes_it_for_a_backend(scan, tmp_path):
    scan.save(tmp_path / "a.ome.zarr")
    theirs = tio.ScalarImage(tmp_path / "a.ome.zarr", reader=vx.TorchioReader())
    with count_reads() as reads:
        assert tuple(theirs.shape) == scan.shape
        assert not theirs.is_loaded
        part = theirs[:, 2:5]
        assert reads.voxels <= part.data.numel()
    assert torch.equal(part.data, scan.data[:, 2:5])
    assert torch.equal(theirs.data, scan.data)


def test_dipy_resamples_it(scan):
    align = pytest.importorskip("dipy.align.reslice", reason="dipy is not installed")
    nifti = scan.to_nibabel()
    voxels, affine = align.reslice(np.asarray(nifti.dataobj), nifti.affine, scan.spacing, (3, 3, 3))
    again = vx.ScalarImage(tensor=voxels[None], affine=affine)
    np.testing.assert_allclose(again.spacing, 3)
    np.testing.assert_allclose(again.get_bounds(), scan.get_bounds(), atol=3)


def test_ants_takes_and_gives_it(scan):
    ants = pytest.importorskip("ants", reason="antspyx is not installed")
    theirs = ants.from_nibabel_nifti(scan.to_nibabel())
    again = vx.ScalarImage.from_nibabel(ants.to_nibabel_nifti(theirs))
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(again.numpy(), scan.numpy())


def test_nilearn_takes_it_for_its_own(scan):
    from nilearn.image import mean_img, smooth_img

    smoothed = smooth_img(scan.to_nibabel(), 4)
    again = vx.ScalarImage.from_nibabel(smoothed)
    np.testing.assert_allclose(again.affine, scan.affine)
    assert mean_img([scan.to_nibabel()], copy_header=True).shape == scan.spatial_shape
