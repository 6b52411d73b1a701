"""Logits come back from the network's grid to the scan's: against scipy, over the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

import voxarray as vx
from inference.reference import blended, clear_of, network

SHAPE = (21, 18, 12)


def oblique(angle=0.0, spacing=(0.8, 1.1, 2.5)):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = 5, -20, 11
    return affine


def scan(affine, shape=SHAPE):
    rng = np.random.default_rng(3)
    return vx.ScalarImage(tensor=rng.normal(100, 40, (1, *shape)).astype(np.float32), affine=affine)


def brought_back(logits, predicted, native):
    """(K, W, H, D) on the native grid, and which voxels the network has seen."""
    indices = np.stack(np.meshgrid(*map(range, native.shape), indexing="ij"), -1)
    places = np.moveaxis(predicted.to_index(native.to_world(indices)), -1, 0)
    found = np.stack([map_coordinates(k, places, order=1, mode="nearest") for k in logits])
    sizes = np.array(predicted.shape)[:, None, None, None]
    return found, ((places > -1 + 1e-6) & (places < sizes - 1e-6)).all(0)


RAS = np.diag([1.0, 1, 2.5, 1])
LPI = np.array([[-0.8, 0, 0, 9], [0, -1.1, 0, 7], [0, 0, -2.5, 5], [0, 0, 0, 1]])
PERMUTED = np.array([[0, 0, -2.5, 9], [0.8, 0, 0, 7], [0, 1.1, 0, 5], [0, 0, 0, 1]])

CASES = {
    "spacing": (oblique(), vx.Resample(1.7)),
    "finer": (oblique(), vx.Resample((0.6, 0.9, 1.4))),
    "oblique": (oblique(0.4), vx.Compose([vx.ToCanonical(), vx.Resample(1.9)])),
    "canonical": (LPI, vx.ToCanonical()),
    "permuted": (PERMUTED, vx.Compose([vx.ToCanonical(), vx.Resample((1.5, 1, 3))])),
    "intensities": (RAS, vx.Compose([vx.ZNormalization(), vx.RescaleIntensity((0, 1))])),
    "crop": (RAS, vx.Compose([vx.CropOrPad((14, 30, 9)), vx.ZNormalization()])),
    "axis": (oblique(0.3), vx.Resample((np.array((24, 24, 24)), np.diag([1.5, 1.5, 1.5, 1])))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("classes", [2, 5])
def test_labels_are_those_of_the_whole_volume(tmp_path, case, classes):
    compare(tmp_path, case, classes, "hann", 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["oblique", "finer"])
@pytest.mark.parametrize("classes", [2, 5, 117])
@pytest.mark.parametrize("blend", ["hann", "gaussian", "crop", "average"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_labels_of_every_blend_overlap_and_number(tmp_path, case, classes, blend, overlap):
    compare(tmp_path, case, classes, blend, overlap)


def compare(tmp_path, case, classes, blend, overlap):
    affine, preprocess = CASES[case]
    if case == "axis":  # around the scan
        preprocess = vx.Resample(((26, 30, 34), _around(scan(affine).grid)))
    image, model = scan(affine), network(classes)
    shown = preprocess(image)
    patch = (8, 10, 8)
    shared = tuple(p - max(1, int(p * (1 - overlap))) for p in patch)
    logits = blended(model, shown.numpy(), patch, shared, blend)
    expected, seen = brought_back(logits, shown.grid, image.grid)
    labels = vx.infer(
        model,
        image,
        tmp_path / "a.ome.zarr",
        patch_size=patch,
        preprocess=preprocess,
        blend=blend,
        overlap=overlap,
    )
    assert labels.grid == image.grid
    clear = clear_of(expected, 1e-3) & seen
    assert clear.mean() > (0.3 if case == "crop" else 0.9)
    np.testing.assert_array_equal(labels.numpy()[0][clear], expected.argmax(0)[clear])
    assert (labels.numpy()[0][~seen] == 0).all()


def _around(grid):
    low, high = grid.bounds
    affine = np.diag([*((high - low) / (25, 29, 33)), 1.0])
    affine[:3, 3] = low
    return affine


@pytest.mark.parametrize("output", ["probabilities", "logits"])
def test_numbers_are_interpolated_before_they_are_reduced(tmp_path, output):
    image, model = scan(oblique(0.4)), network(3)
    preprocess = vx.Resample(1.7)
    shown = preprocess(image)
    logits = blended(model, shown.numpy() / 40, (8, 8, 8), (4, 4, 4), "gaussian")
    expected, seen = brought_back(logits, shown.grid, image.grid)
    if output == "probabilities":
        powers = np.exp(expected - expected.max(0))
        expected = powers / powers.sum(0)
    found = vx.infer(
        lambda batch: model(batch / 40),
        image,
        tmp_path / "a.nii",
        patch_size=8,
        preprocess=preprocess,
        output=output,
        blend="gaussian",
    ).numpy()
    np.testing.assert_allclose(found[:, seen], expected[:, seen], atol=2e-4)
    outside = found[:, ~seen]
    assert (outside[0] == (output == "probabilities")).all()
    assert (outside[1:] == 0).all()


def test_a_subject_is_preprocessed_as_a_whole(tmp_path):
    t1, t2 = scan(oblique()), scan(oblique(), (11, 9, 24))
    subject = vx.Subject(t1=t1, t2=t2)
    preprocess = vx.Resample("t1")
    model = network(2, 2)
    both = preprocess(subject)
    logits = blended(
        model, np.concatenate([both.t1.numpy(), both.t2.numpy()]), (8, 8, 8), (4, 4, 4), "hann"
    )
    # The channels need one grid only after preprocessing; the result is on that of the first.
    found = vx.infer(
        model,
        subject,
        tmp_path / "a.nii",
        patch_size=8,
        preprocess=preprocess,
        channels=["t1", "t2"],
    )
    clear = clear_of(logits, 1e-3)
    np.testing.assert_array_equal(found.numpy()[0][clear], logits.argmax(0)[clear])


def test_each_voxel_of_preprocessing_is_computed_once(tmp_path, monkeypatch):
    from voxarray.ops.resampling import Resampled

    image = scan(oblique())
    voxels = []
    compute = Resampled.compute
    monkeypatch.setattr(
        Resampled,
        "compute",
        lambda self, s, parts: (voxels.append(int(np.prod(s.shape))), compute(self, s, parts))[1],
    )
    preprocess = vx.Resample(1.7)
    vx.infer(
        lambda b: b, image, tmp_path / "a.nii", patch_size=8, overlap=0.5, preprocess=preprocess
    )
    shown, native = (int(np.prod(i.spatial_shape)) for i in (preprocess(image), image))
    assert sum(voxels) == shown + native


@pytest.mark.parametrize(
    "preprocess",
    [
        vx.Affine(1.2, 0, 0),
        vx.Flip(0),
        vx.Compose([vx.ToCanonical(), vx.Flip("Left")]),
    ],
    ids=["Affine", "Flip", "Compose"],
)
def test_what_moves_the_anatomy_is_refused(tmp_path, preprocess):
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.infer(network(2), scan(RAS), tmp_path / "a.nii", patch_size=8, preprocess=preprocess)
    assert caught.value.code == "NOT_INVERTIBLE"


@pytest.mark.parametrize(
    ("preprocess", "code"),
    [(lambda _: 5, "BAD_TRANSFORM"), (lambda s: vx.Subject(other=s.image), "MISSING_CHANNELS")],
    ids=["no subject", "no image"],
)
def test_functions_that_lose_the_image_are_named(tmp_path, preprocess, code):
    with pytest.raises(vx.StateError) as caught:
        vx.infer(network(2), scan(RAS), tmp_path / "a.nii", patch_size=8, preprocess=preprocess)
    assert caught.value.code == code


def test_preprocessing_that_leaves_the_scan_is_refused(tmp_path):
    def moved(subject):
        affine = np.array(subject.image.affine)
        affine[0, 3] += 500
        return vx.Subject(image=vx.ScalarImage(tensor=subject.image.numpy(), affine=affine))

    out = tmp_path / "a.nii"
    with pytest.raises(vx.UnsupportedError, match="does not overlap the scan") as caught:
        vx.infer(lambda p: p, vx.testing.sample(), out, patch_size=16, preprocess=moved, classes=1)
    assert caught.value.code == "NOT_INVERTIBLE"
    assert not out.exists()
