"""`Subject`: fields, laziness, slices and agreement, also compared with TorchIO."""

from __future__ import annotations

import copy
import pickle
import warnings

import matplotlib as mpl
import numpy as np
import pytest

import voxarray as vx
from scans import AFFINE, voxels, write
from voxarray.testing.counting import count_reads

mpl.use("agg")
SHAPE = (1, 5, 6, 7)


@pytest.fixture
def subject(tmp_path):
    return vx.Subject(
        {"a t1": vx.ScalarImage(write(tmp_path / "t1.nii.gz", voxels(SHAPE)))},
        seg=vx.LabelMap(write(tmp_path / "seg.nii", voxels(SHAPE, "uint8"))),
        age=45,
    )


def test_fields(subject):
    assert subject["age"] == subject.age == 45
    assert subject.seg is subject["seg"]
    assert list(subject) == ["seg", "age", "a t1"]
    assert dict(subject) == {**subject}
    subject.site = "B"
    subject["sex"] = "f"
    assert (subject["site"], subject.sex) == ("B", "f")
    del subject.site
    assert "site" not in subject
    for missing in (lambda: subject.site, lambda: delattr(subject, "site")):
        with pytest.raises(AttributeError, match="no attribute 'site'"):
            missing()
    with pytest.raises(KeyError):
        subject["site"]


def test_members_are_not_shadowed(subject):
    subject["load"] = "metadata"
    assert callable(subject.load)
    with pytest.raises(AttributeError, match=r"subject\['load'\]"):
        subject.load = 3
    with pytest.raises(AttributeError, match="member"):
        del subject.load


def test_what_is_no_subject():
    image = vx.ScalarImage(tensor=voxels())
    with pytest.raises(TypeError, match="without images"):
        vx.Subject(age=3)
    with pytest.raises(TypeError, match="t1=image"):
        vx.Subject(image)
    with pytest.raises(ValueError, match="Only one dictionary"):
        vx.Subject({"a": image}, {"b": image})
    with pytest.raises(ValueError, match="Only one dictionary"):
        vx.Subject([image])
    with pytest.raises(ValueError, match=r"vx.Subject\(t1=vx.ScalarImage\(path\)\)"):
        vx.Subject("folder")
    with pytest.raises(TypeError, match="named by text"):
        vx.Subject({3: image})


def test_a_dict_will_do(subject):
    assert vx.Subject.of(subject) is subject
    assert vx.Subject.of(dict(subject)) == subject


def test_images(subject):
    assert len(subject) == 2
    assert subject.get_images() == [subject["a t1"]]
    assert subject.get_images_names() == ["seg", "a t1"]
    assert list(subject.get_images_dict(intensity_only=False, exclude=["seg"])) == ["a t1"]
    assert list(subject.get_images_dict(intensity_only=False, include=["seg"])) == ["seg"]
    assert subject.get_first_image() is subject.seg
    subject.add_image(subject.seg, "again")
    assert subject.get_image("again") is subject.seg
    subject.remove_image("again")
    for wrong in (("seg", "a"), (subject.seg, 3)):
        with pytest.raises(ValueError, match="takes an image and its name"):
            subject.add_image(*wrong)
    with pytest.raises(KeyError):
        subject.remove_image("age")


def test_nothing_loads(subject):
    with count_reads() as reads:
        copies = [copy.copy(subject), copy.deepcopy(subject), subject.copy()]
        copies += [pickle.loads(pickle.dumps(subject)), subject[1:3, ::-1], subject[..., 2]]
        assert repr(subject) == "Subject(Keys: ('seg', 'age', 'a t1'); images: 2)"
        assert (subject.shape, subject.spatial_shape) == (SHAPE, SHAPE[1:])
        assert subject.same_grid()
        assert subject == copies[3]
    assert reads.voxels == 0
    assert all(type(one) is vx.Subject and one.age == 45 for one in copies)
    assert copies[0].seg is subject.seg
    assert copies[1].seg is not subject.seg


def test_slices(subject):
    part = subject[1:4, ::-1, 3]
    assert part.spatial_shape == (3, 6, 1)
    for name in ("a t1", "seg"):
        np.testing.assert_array_equal(part[name].numpy(), voxels(SHAPE)[:, 1:4, ::-1, 3:4])
        np.testing.assert_array_equal(part[name].affine, subject[name][1:4, ::-1, 3].affine)
    assert subject.spatial_shape == SHAPE[1:]
    with pytest.raises(IndexError):
        subject[9]
    with pytest.raises(TypeError, match="cannot be indexed"):
        subject[[1, 2]]


def test_load_and_unload(subject):
    subject.load()
    assert all("data" in image for image in subject.get_images(intensity_only=False))
    subject.unload()
    assert not any("data" in image for image in subject.get_images(intensity_only=False))
    with pytest.raises(RuntimeError, match="not been loaded"):
        subject.unload()


def test_agreement(subject):
    np.testing.assert_allclose(subject.spacing, subject.seg.spacing)
    np.testing.assert_array_equal(subject.affine, subject.seg.affine)
    assert subject.grid == subject.seg.grid
    subject.check_consistent_orientation()
    moved = AFFINE.copy()
    moved[0, 3] += 1e-5
    subject.seg.affine = moved  # less than a thousandth of a voxel
    assert subject.same_grid()
    assert not subject.same_grid(tolerance=1e-7)
    moved[0, 3] += 1
    subject.seg.affine = moved
    assert not subject.same_grid()
    with pytest.raises(RuntimeError, match=r'"grid" found.*resample[\s\S]*seg: Grid'):
        _ = subject.grid
    with pytest.raises(vx.StateError, match='"affine"'):
        _ = subject.affine
    assert subject.spacing == pytest.approx(subject["a t1"].spacing)


def test_disagreement(tmp_path):
    small, large = (vx.ScalarImage(tensor=voxels((1, n, 4, 5))) for n in (3, 6))
    subject = vx.Subject(small=small, large=large)
    for ask in ("shape", "spatial_shape", "grid"):
        with pytest.raises(vx.StateError, match=r"small: .*3, 4, 5"):
            getattr(subject, ask)
    with pytest.raises(RuntimeError, match="spatial_shape"):
        subject[1:3]
    assert subject.spacing == (1, 1, 1)
    turned = vx.ScalarImage(tensor=voxels((1, 3, 4, 5)), affine=np.diag([-1, 1, 1, 1.0]))
    with pytest.raises(RuntimeError, match="'L'"):
        vx.Subject(a=small, b=turned).check_consistent_orientation()


def on_grids_of_one_shape(*affines):
    """Images of one shape, each on a grid of its own."""
    return vx.Subject(
        {
            f"image {number}": vx.ScalarImage(tensor=voxels((2, 5, 5, 5)), affine=affine)
            for number, affine in enumerate(affines)
        }
    )


@pytest.mark.parametrize(
    "other",
    [
        np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),  # x runs backwards
        np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        np.diag([1, 1, 2, 1.0]),
        np.array([[1, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ],
)
def test_images_on_different_grids_of_one_shape_are_not_sliced_alike(other):
    subject = on_grids_of_one_shape(np.eye(4), np.eye(4), other)
    for key in (slice(1, 3), 2, np.s_[..., ::-1], np.s_[:1, 1:3, :, :], np.s_[:, 1:]):
        with pytest.raises(vx.StateError, match=r"slice the images one by one") as caught:
            subject[key]
        assert caught.value.code == "GRIDS_DIFFER"
        for words in ("image 0: Grid", "image 2: Grid", "vx.Resample('image 0')(subject)"):
            assert words in str(caught.value)
    for crop in (vx.Crop(1), vx.Crop((1, 0, 0)), vx.Crop(1, exclude=["image 0"])):
        with pytest.warns(vx.VoxarrayWarning, match=r"GRIDS_DIFFER: .*different places.*include="):
            crop(subject)
    # What the errors advise.
    assert subject["image 2"][1:3].spatial_shape == (2, 5, 5)
    assert vx.Resample("image 0")(subject)[1:3].spatial_shape == (2, 5, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vx.Crop(1, include=["image 2"])(subject)["image 2"].spatial_shape == (3, 3, 3)


def test_whole_axes_are_selected_on_any_grids():
    subject = on_grids_of_one_shape(np.eye(4), np.diag([-1, 1, 1, 1.0]))
    subject["large"] = vx.ScalarImage(tensor=voxels((2, 6, 7, 8)))
    assert subject[:1, :, :, :]["large"].shape == (1, 6, 7, 8)
    assert subject[-1, ..., :, :, :]["large"].shape == (1, 6, 7, 8)
    assert subject[...]["large"].shape == (2, 6, 7, 8)
    assert vx.Crop(0)(subject)["large"].shape == (2, 6, 7, 8)
    with pytest.raises(vx.StateError):
        subject[:5]  # all of one image, not of the other


def test_grids_that_are_equal_but_for_noise_are_sliced_alike():
    noisy = np.eye(4)
    noisy[:3] += np.random.default_rng(0).uniform(-1e-5, 1e-5, (3, 4))
    subject = on_grids_of_one_shape(np.eye(4), noisy)
    assert subject[1:3].spatial_shape == (2, 5, 5)
    assert vx.Crop(1)(subject).spatial_shape == (3, 3, 3)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_plot(tmp_path, subject, count):
    images = {"a t1": subject["a t1"], "seg": subject.seg, "third": subject.seg}
    some = vx.Subject(dict(list(images.items())[:count]))
    with count_reads() as reads:
        figure = some.plot(
            return_fig=True, show=False, cmap_dict={"seg": "jet"}, output_path=tmp_path / "a.png"
        )
    w, h, d = SHAPE[1:]
    assert reads.voxels <= count * (w * h + h * d + w * d)
    assert (tmp_path / "a.png").stat().st_size > 1000
    titles = {axes.get_title() for axes in figure.axes}
    assert "a t1 (sagittal)" in titles
    assert len(figure.axes) == 3 * count
    assert some.plot(show=False) is None


def test_html(subject):
    shown = subject._repr_html_()
    assert shown.count("<img") == 2
    assert "<h4>a t1</h4>" in shown


def test_as_in_torchio(tmp_path):
    tio = pytest.importorskip("torchio")
    write(tmp_path / "t1.nii.gz", voxels(SHAPE), np.diag([-2, 3, 4, 1.0]))
    write(tmp_path / "seg.nii", voxels(SHAPE, "uint8"), np.diag([-2, 3, 4, 1.0]))
    subject = vx.Subject(
        {"a t1": vx.ScalarImage(tmp_path / "t1.nii.gz")},
        seg=vx.LabelMap(tmp_path / "seg.nii"),
        age=45,
    )
    theirs = tio.Subject(
        {"a t1": tio.ScalarImage(tmp_path / "t1.nii.gz")},
        seg=tio.LabelMap(tmp_path / "seg.nii"),
        age=45,
    )
    assert repr(theirs) == repr(subject)
    assert len(theirs) == len(subject)
    assert list(theirs) == list(subject)
    for member in ("shape", "spatial_shape", "spacing"):
        assert np.allclose(getattr(theirs, member), getattr(subject, member))
    for arguments in ({}, {"intensity_only": False}, {"exclude": ["a t1"]}):
        assert list(theirs.get_images_dict(**arguments)) == list(
            subject.get_images_dict(**arguments)
        )
    assert theirs[1:3, 2].spatial_shape == subject[1:3, 2].spatial_shape
    # By key: the attribute of TorchIO's slice is still the whole image.
    np.testing.assert_array_equal(theirs[1:3, 2]["seg"].data, subject[1:3, 2].seg.data)


@pytest.mark.parametrize("name", ["subject.nii.gz", "subject.ome.zarr"])
def test_a_subject_is_not_saved_under_the_name_of_one_image(subject, tmp_path, name):
    with pytest.raises(ValueError, match="give a folder, and the format as suffix="):
        subject.save(tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("method", ["to_torchio", "to_nibabel", "as_sitk"])
def test_images_of_others_are_not_metadata(method):
    """Transforms would leave them as they are, beside images that have changed."""
    scan = vx.testing.sample((4, 5, 6))
    theirs = getattr(scan, method)()
    with pytest.raises(TypeError, match=r"'other' is a .* image.*vx\.ScalarImage\.from_"):
        vx.Subject(t1=scan, other=theirs)
    subject = vx.Subject(t1=scan)
    with pytest.raises(TypeError, match="'other' is a"):
        subject.other = theirs
    assert list(subject) == ["t1"]
    subject.points = scan.data  # tensors are metadata


def test_how_far_grids_are_apart_is_told_though_they_print_alike():
    affine = np.diag([2, 2, 2, 1.0])
    affine[0, 3] = 50
    close = affine.copy()
    close[0, 3] = 50.003
    subject = on_grids_of_one_shape(affine, affine, close)
    with pytest.raises(vx.StateError, match="GRIDS_DIFFER") as caught:
        subject[1:3]
    first, *_, last = (
        line.partition(": ")[2] for line in str(caught.value).splitlines() if "Grid(" in line
    )
    assert first == last
    assert "up to 0.0015 voxels apart, but only 0.001 are allowed" in str(caught.value)
