"""Histories: what archives keep of them, and results made again from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from spatial_samples import both, oblique

import voxarray as vx
from voxarray.core.history import entry
from voxarray.core.safe_yaml import dumps
from voxarray.testing.counting import count_reads
from voxarray.transforms.pipeline_file import entries_of, parsed


@pytest.fixture
def scan(tmp_path):
    subject = both(3)[1]
    subject["t1"].save(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


PIPELINE = vx.Compose(
    [
        vx.ToCanonical(),
        vx.Flip("Left"),
        vx.Resample(1.3, image_interpolation="bspline"),
        vx.CropOrPad((12, 13, 14), padding_mode="edge"),
        vx.Affine((1, 1.1, 1), (0, 10, 0), (1, 0, 0), default_pad_value=3),
        vx.Resize(9),
        vx.EnsureShapeMultiple(4),
        vx.Transpose(),
    ]
)


def test_a_pipeline_is_replayed_voxel_for_voxel(scan, tmp_path):
    result = PIPELINE(vx.ScalarImage(scan))[:, ::-1, 1:]
    result.affine = oblique(1)
    result = result.crop(1)
    result.save(tmp_path / "result.ome.zarr")
    with count_reads() as reads:
        again = vx.replay(tmp_path / "result.ome.zarr", scan)
        assert reads.voxels == 0
    archived = vx.ScalarImage(tmp_path / "result.ome.zarr")
    assert np.array_equal(again.numpy(), archived.numpy())
    assert np.array_equal(again.affine, archived.affine)
    assert again.history == archived.history[:-1]
    names = [one["operation"] for one in archived.history]
    assert names[:3] == ["ToCanonical", "Flip", "Resample"]
    assert names[-4:] == ["slice", "set_affine", "Crop", "convert"]
    assert archived.history == tuple(json.loads(json.dumps(archived.history)))


def test_from_archive_to_archive(scan, tmp_path):
    vx.ScalarImage(scan).save(tmp_path / "raw.ome.zarr")
    first = vx.ScalarImage(tmp_path / "raw.ome.zarr").level(0).resample(2)
    first.save(tmp_path / "first.ome.zarr")
    second = vx.ScalarImage(tmp_path / "first.ome.zarr").pad(2)
    second.save(tmp_path / "second.ome.zarr")
    expected = vx.ScalarImage(tmp_path / "second.ome.zarr").numpy()
    for source in (scan, tmp_path / "raw.ome.zarr", tmp_path / "first.ome.zarr"):
        assert np.array_equal(vx.replay(tmp_path / "second.ome.zarr", source).numpy(), expected)


def test_labels_and_references(tmp_path):
    subject = both(2)[1]
    subject["seg"].save(tmp_path / "seg.nii.gz")
    reference = both(4)[1]["t1"]
    given = vx.Subject(seg=vx.LabelMap(tmp_path / "seg.nii.gz"), ref=reference)
    result = vx.Resample("ref")(given)["seg"]
    result.save(tmp_path / "seg.ome.zarr")
    again = vx.replay(tmp_path / "seg.ome.zarr", tmp_path / "seg.nii.gz")
    assert isinstance(again, vx.LabelMap)
    assert np.array_equal(again.numpy(), result.numpy())


FULL = [
    vx.ToCanonical(),
    vx.Resample(1),
    vx.CropOrPad((40, 44, 48)),
    vx.RescaleIntensity(percentiles=(0.5, 99.5)),
    vx.ZNormalization(),
]
LANDMARKS = np.array([0, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100.0])
FAMILIES = {
    "full pipeline": FULL,
    "moving": [vx.Transpose(), vx.ToOrientation("PIL"), vx.Flip((0, "Superior")), vx.Crop(1)],
    "padding": [vx.Pad((1, 2, 3), "reflect"), vx.Pad(1, "mean"), vx.EnsureShapeMultiple(7)],
    "sampling": [
        vx.Resample((1, 2, 0.7), antialias=True),
        vx.Resize((13, 12, 11)),
        vx.Affine(1.1, (3, 4, 5), (1, 0, -2), image_interpolation="bspline"),
    ],
    "intensities": [
        vx.Clamp(-90, 80.5),
        vx.RescaleIntensity((0, 100), (1, 99), masking_method=1),
        vx.Blur((1, 0, 2.5)),
        vx.Mask("Left", outside_value=3),
        vx.To("int16"),
    ],
    "statistics of a side": [vx.ZNormalization("Anterior")],
    "landmarks": [vx.HistogramStandardization({"t1": LANDMARKS}), vx.ZNormalization()],
    "masks of the subject": [
        vx.CropOrPad(mask_name="seg"),
        vx.ZNormalization("seg"),
        vx.Mask("seg", labels=[1, 2]),
    ],
    "labels": [
        vx.RemapLabels({1: 300, 2: 4}),
        vx.RemoveLabels([3], masking_method="Right"),
        vx.SequentialLabels(),
        vx.Resample(1.7, label_interpolation="label_gaussian"),
    ],
    "one label": [vx.RemapLabels({2: 1, 3: 1}), vx.KeepLargestComponent(), vx.Contour()],
    "channels of labels": [vx.OneHot(), vx.ToCanonical()],
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_its_archive_again(tmp_path, family, suffix):
    """Archive, replayed from the source, and archived: the same voxels and places in both."""
    subject = both(5)[1]
    for name in ("t1", "seg"):
        subject[name].save(tmp_path / f"{name}{suffix}")
    subject = vx.Subject(
        t1=vx.ScalarImage(tmp_path / f"t1{suffix}"), seg=vx.LabelMap(tmp_path / f"seg{suffix}")
    )
    vx.Compose(FAMILIES[family])(subject).save(tmp_path / "done")
    for name, image in subject.items():
        first = type(image)(tmp_path / "done" / f"{name}.ome.zarr")
        needs_masks = family == "masks of the subject"
        again = vx.replay(first.path, subject if needs_masks else image.path)
        again = again[name] if needs_masks else again
        again.save(tmp_path / f"{name}.ome.zarr")
        second = type(image)(tmp_path / f"{name}.ome.zarr")
        assert second.dtype == first.dtype
        assert np.array_equal(second.numpy(), first.numpy())
        assert np.array_equal(second.affine, first.affine)
        assert second.history == first.history
        if needs_masks and name == "t1":
            with pytest.raises(vx.StateError, match="give the subject") as caught:
                vx.replay(first.path, image.path)
            assert caught.value.code == "CANNOT_REPLAY"


@pytest.mark.parametrize(
    "transform",
    [
        vx.Pad(1, float("nan")),
        vx.Clamp(-np.inf, np.float32(0.5)),
        vx.Compose([vx.Pad(1, np.inf), vx.Flip(0)]),
    ],
    ids=["nan", "negative", "composed"],
)
def test_numbers_that_json_has_not(tmp_path, transform):
    image = vx.ScalarImage(tensor=np.linspace(-1, 1, 60, dtype="f4").reshape(1, 5, 4, 3))
    done = transform(image)
    done.save(tmp_path / "done.ome.zarr")
    saved = vx.ScalarImage(tmp_path / "done.ome.zarr")
    for other in (saved, vx.replay(saved, image)):
        np.testing.assert_array_equal(other.numpy(), done.numpy())
    strict = {"parse_constant": lambda name: pytest.fail(f"{name} is no JSON")}
    json.loads((tmp_path / "done.ome.zarr" / "zarr.json").read_text(), **strict)
    text = dumps(entries_of([transform]))
    again = vx.Compose(parsed(text, "a.yaml"))
    np.testing.assert_array_equal(again(image).numpy(), done.numpy())


def test_landmarks_that_were_saved(scan, tmp_path):
    """The numbers are in the archive: the file that they came from may be gone."""
    path = tmp_path / "landmarks.npy"
    vx.HistogramStandardization.train([scan], output_path=path, progress=False)
    vx.HistogramStandardization(path)(vx.ScalarImage(scan)).save(tmp_path / "a.ome.zarr")
    path.unlink()
    again = vx.replay(tmp_path / "a.ome.zarr", scan)
    assert np.array_equal(again.numpy(), vx.ScalarImage(tmp_path / "a.ome.zarr").numpy())


def image_with(*history):
    image = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4)))
    return image._on(image.source.recorded(*history))


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (entry("Magic", {}), "no operation 'Magic'. If it is a class of your own, replay cannot"),
        (entry("Transform", {}), None),
        (entry("Crop", {"cropping": 1}, version=2), "Crop was of version 2"),
        (entry("Crop", {"trimming": 1}), "Crop does not take"),
        (entry("Crop", {"cropping": np.mean}), "Crop was given numpy"),
        (entry("set_data", {}), "no operation 'set_data'"),
        (entry("slice", {"ranges": [[0, 1, 1], [0, 9, 1], [0, 1, 1], [0, 1, 1]]}), "the slice"),
        ({"voxels": 3}, "is not an operation"),
    ],
)
def test_what_cannot_be_replayed(one, text):
    source = vx.ScalarImage(tensor=np.ones((1, 4, 4, 4)))
    if text is None:
        with pytest.raises(NotImplementedError):
            vx.replay(image_with(one), source)
        return
    with pytest.raises(vx.StateError, match=text) as caught:
        vx.replay(image_with(one), source)
    assert caught.value.code == "CANNOT_REPLAY"


def test_a_mask_with_steps_of_its_own_is_not_taken_for_the_original_one(tmp_path):
    scan = vx.testing.sample()
    labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
    subject = vx.Subject(t1=scan, seg=labels)
    done = vx.Compose([vx.Flip(0), vx.Contour(), vx.ZNormalization("seg")])(subject)
    done.t1.save(tmp_path / "done.ome.zarr")
    with pytest.raises(
        vx.StateError, match="was transformed by Flip, Contour, but the mask given now was"
    ) as caught:
        vx.replay(tmp_path / "done.ome.zarr", subject)
    assert caught.value.code == "CANNOT_REPLAY"

    changed = vx.Subject(t1=scan, seg=vx.RemoveLabels([0], 1)(labels))
    done = vx.Compose([vx.Flip(0), vx.ZNormalization("seg")])(changed)
    done.t1.save(tmp_path / "changed.ome.zarr")
    again = vx.replay(tmp_path / "changed.ome.zarr", changed)
    np.testing.assert_array_equal(again.t1.numpy(), done.t1.numpy())
    with pytest.raises(vx.StateError, match="CANNOT_REPLAY"):
        vx.replay(tmp_path / "changed.ome.zarr", subject)


def test_a_slice_of_images_with_different_numbers_of_channels(tmp_path):
    subject = both(3)[1]
    assert (subject.t1.num_channels, subject.seg.num_channels) == (2, 1)
    done = vx.ZNormalization(masking_method="seg")(subject[1:, ::-1])
    done.save(tmp_path)
    for name in ("t1", "seg"):
        again = vx.replay(tmp_path / f"{name}.ome.zarr", subject)[name]
        np.testing.assert_array_equal(again.numpy(), done[name].numpy())
    sliced = vx.Compose(parsed(dumps([done.t1.history[0]]), "a.yaml"))(subject)
    np.testing.assert_array_equal(sliced.seg.numpy(), subject[1:, ::-1].seg.numpy())
    fewer = vx.Subject(t1=subject.t1[:1, :, :, :], seg=subject.seg)
    with pytest.raises(vx.StateError, match="taken from an image larger than the one given"):
        vx.replay(tmp_path / "t1.ome.zarr", fewer)


@pytest.mark.parametrize("kinds", [(vx.ScalarImage, vx.LabelMap), (vx.LabelMap, vx.ScalarImage)])
def test_an_archive_that_was_opened_as_another_kind(tmp_path, kinds):
    first, then = kinds
    noise = np.random.default_rng(0).integers(0, 9, (1, 12, 14, 10)).astype("int16")
    first(tensor=noise).save(tmp_path / "source.nii")
    vx.Resample(1.4)(first(tmp_path / "source.nii")).save(tmp_path / "first.ome.zarr")
    vx.Resample(2.1)(then(tmp_path / "first.ome.zarr")).save(tmp_path / "then.ome.zarr")
    done = then(tmp_path / "then.ome.zarr")
    again = vx.replay(tmp_path / "then.ome.zarr", tmp_path / "source.nii")
    assert type(again) is then
    np.testing.assert_array_equal(again.numpy(), done.numpy())
    for kind in kinds:
        again = vx.replay(tmp_path / "then.ome.zarr", kind(tmp_path / "source.nii"))
        assert (type(again), again.type) == (kind, kind.fixed_type)
        np.testing.assert_array_equal(again.numpy(), done.numpy())


def on_one_grid():
    scan = vx.testing.sample()
    return vx.Subject(
        t1=scan, seg=vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
    )


def test_a_mask_that_is_resampled_onto_its_own_grid_has_no_step(tmp_path):
    subject = on_one_grid()
    done = vx.Compose([vx.Resample("t1"), vx.ZNormalization(masking_method="seg")])(subject)
    assert done.seg.history == subject.seg.history
    np.testing.assert_array_equal(done.seg.numpy(), subject.seg.numpy())
    done.t1.save(tmp_path / "done.ome.zarr")
    again = vx.replay(tmp_path / "done.ome.zarr", subject)
    np.testing.assert_array_equal(again.t1.numpy(), done.t1.numpy())
    # All else is a step: another grid, values between labels, voxels of another type.
    coarse = vx.Subject(
        t1=subject.t1, seg=vx.Resample(4)(subject.seg), t2=vx.Clamp(0, 9)(subject.t1)
    )
    gaussian = vx.Resample("t1", label_interpolation="label_gaussian")
    assert vx.Resample("t1")(coarse).seg.history[-1]["operation"] == "Resample"
    assert vx.Resample("t1")(coarse).t2.history[-1]["operation"] == "Resample"
    assert gaussian(subject).seg.history[-1]["operation"] == "Resample"


def test_a_mask_from_another_grid_leads_to_the_pipeline(tmp_path):
    subject = on_one_grid()
    subject["seg"] = vx.Resample(4)(subject.seg)
    done = vx.Compose([vx.Resample("t1"), vx.ZNormalization(masking_method="seg")])(subject)
    done.t1.save(tmp_path / "done.ome.zarr")
    with pytest.raises(vx.StateError, match=r"CANNOT_REPLAY.*apply the original pipeline"):
        vx.replay(tmp_path / "done.ome.zarr", subject)
