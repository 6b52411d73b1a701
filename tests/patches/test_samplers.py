"""Samplers draw what TorchIO's draw: targets are computed from the whole map, by its own code."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
import torchio as tio
from hypothesis import given
from hypothesis import strategies as st

import voxarray as vx
from patches.conftest import AFFINE, SHAPE, label_voxels
from voxarray.core.errors import StateError, UnsupportedError
from voxarray.patches.patch_sizes import centres
from voxarray.patches.randomness import generator
from voxarray.testing.counting import count_reads

PATCH = (9, 6, 8)
DRAWS = 4000


def starts(sampler, subject, count=DRAWS, seed=1):
    draw = sampler.draw(subject)
    return np.array([draw.start(generator(seed, 0, index)) for index in range(count)])


def probabilities(torchio_sampler, images):
    """What TorchIO 1.2.1 draws centres by."""
    subject = tio.Subject(images)
    weights = torchio_sampler.get_probability_map(subject)
    return torchio_sampler.process_probability_map(weights, subject)


def assert_drawn_from(expected, centres_, bins=40):
    """Chi-square over groups of voxels that are equally likely together."""
    expected = expected.reshape(-1)
    flat = np.ravel_multi_index(tuple(centres_.T), SHAPE)
    assert (expected[flat] > 0).all(), "a centre that can never be"
    possible = np.flatnonzero(expected)
    sums = np.cumsum(expected[possible])
    group = np.minimum((sums / sums[-1] * bins).astype(int), bins - 1)
    observed = np.bincount(group[np.searchsorted(possible, flat)], minlength=bins)
    chances = np.bincount(group, weights=expected[possible], minlength=bins)
    kept = chances > 0
    p = scipy.stats.chisquare(observed[kept], chances[kept] / chances.sum() * len(flat)).pvalue
    assert p > 1e-3, f"p = {p}"


def test_uniform(subject):
    found = starts(vx.UniformSampler(PATCH), subject)
    for axis in range(3):
        places = SHAPE[axis] - PATCH[axis] + 1
        observed = np.bincount(found[:, axis], minlength=places)
        assert len(observed) == places  # the last place that fits is reached, none beyond
        assert scipy.stats.chisquare(observed).pvalue > 1e-3


CHANCES = [None, {0: 1, 1: 2, 2: 1}, {1: 0.5, 2: 0, 7: 3}]


@pytest.mark.parametrize(
    ("subject", "chances"),
    [
        # From cells of an archive or from memory in turns; both of all in the soak.
        pytest.param(form, chances, marks=() if (n + m) % 2 == 0 else pytest.mark.slow)
        for m, form in enumerate(["archive", "memory"])
        for n, chances in enumerate(CHANCES)
    ],
    indirect=["subject"],
)
def test_labels(subject, chances):
    images = {"seg": tio.LabelMap(tensor=torch.from_numpy(label_voxels()), affine=AFFINE)}
    expected = probabilities(tio.LabelSampler(PATCH, "seg", chances), images)
    found = starts(vx.LabelSampler(PATCH, "seg", chances), subject)
    assert_drawn_from(expected, found + np.array(PATCH) // 2)


def test_labels_that_lie_mostly_where_no_centre_is(subject):
    """Label 1 begins at the border: its cells there are counted, and the draw stays exact."""
    patch = (14, 6, 8)
    images = {"seg": tio.LabelMap(tensor=torch.from_numpy(label_voxels()), affine=AFFINE)}
    expected = probabilities(tio.LabelSampler(patch, "seg", {1: 1, 2: 1}), images)
    sampler = vx.LabelSampler(patch, "seg", {1: 1, 2: 1})
    assert any(kind.counted for kind in sampler.draw(subject).kinds)
    assert_drawn_from(expected, starts(sampler, subject) + np.array(patch) // 2)


def test_labels_in_channels():
    one_hot = np.concatenate([label_voxels() == 1, label_voxels() == 2]).astype("u1")
    images = {"seg": tio.LabelMap(tensor=torch.from_numpy(one_hot))}
    expected = probabilities(tio.LabelSampler(PATCH, "seg", {0: 1, 1: 3}), images)
    subject = vx.Subject(seg=vx.LabelMap(tensor=one_hot))
    found = starts(vx.LabelSampler(PATCH, "seg", {0: 1, 1: 3}), subject)
    assert_drawn_from(expected, found + np.array(PATCH) // 2)
    with pytest.raises(IndexError, match="no channel 2"):
        vx.LabelSampler(PATCH, "seg", {2: 1}).draw(subject)


@pytest.mark.parametrize(
    "suffix", ["", pytest.param(".nii.gz", marks=pytest.mark.slow), ".ome.zarr"]
)
def test_weights(tmp_path, suffix):
    weights = np.random.default_rng(0).random((1, *SHAPE), np.float32) ** 3
    weights[:, :15] = 0
    weights[:, 20, 20, 20] = 900  # a tenth of all, more or less
    image = vx.Image(tensor=weights, type=vx.SAMPLING_MAP)
    if suffix:
        image.save(tmp_path / f"w{suffix}")
        image = vx.Image(tmp_path / f"w{suffix}", type=vx.SAMPLING_MAP)
    images = {"w": tio.Image(tensor=torch.from_numpy(weights), type=tio.SAMPLING_MAP)}
    expected = probabilities(tio.WeightedSampler(PATCH, "w"), images)
    found = starts(vx.WeightedSampler(PATCH, "w"), vx.Subject(w=image))
    assert_drawn_from(expected, found + np.array(PATCH) // 2)


def test_axes_longer_than_16_bits():
    """TorchIO 1 keeps sizes in 16 bits, where 70,000 is 4,464."""
    shape = (70_000, 3, 2)
    labels = np.zeros((1, *shape), "u1")
    labels[0, 66_000:69_990] = 1
    subject = vx.Subject(seg=vx.LabelMap(tensor=labels))
    found = starts(vx.UniformSampler((8, 2, 2)), subject)[:, 0]
    observed = np.histogram(found, bins=20, range=(0, shape[0] - 8 + 1))[0]
    assert scipy.stats.chisquare(observed).pvalue > 1e-3
    found = starts(vx.LabelSampler((8, 2, 2), "seg"), subject)[:, 0] + 4
    assert (labels[0, found, 1, 1] == 1).all()
    observed = np.histogram(found, bins=20, range=(66_000, 69_990))[0]
    assert scipy.stats.chisquare(observed).pvalue > 1e-3
    weighted = vx.Subject(w=vx.ScalarImage(tensor=labels.astype("f4")))
    found = starts(vx.WeightedSampler((8, 2, 2), "w"), weighted)[:, 0] + 4
    observed = np.histogram(found, bins=20, range=(66_000, 69_990))[0]
    assert observed.sum() == DRAWS
    assert scipy.stats.chisquare(observed).pvalue > 1e-3
    location = next(vx.LabelSampler((8, 2, 2), "seg")(subject))["location"]
    assert location.dtype == torch.int64
    assert location[0] > 65_535


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0)
)
def test_numbers_depend_on_seed_epoch_and_index_alone(seed, epoch, index, other):
    first = generator(seed, epoch, index).integers(0, 1 << 62, 8)
    np.testing.assert_array_equal(first, generator(seed, epoch, index).integers(0, 1 << 62, 8))
    if other < 2**64 and other != index:
        assert not set(first) & set(generator(seed, epoch, other).integers(0, 1 << 62, 8))


@pytest.mark.parametrize("bad", [-1, 2**64])
def test_numbers_that_are_no_seed(bad):
    with pytest.raises(ValueError, match="seed must be between"):
        generator(bad, 0, 0)


def test_archived_labels_are_counted_once_and_not_read(tmp_path):
    from patches.conftest import archived

    subject = archived(tmp_path)
    with count_reads() as reads:
        draw = vx.LabelSampler(PATCH, "seg", {2: 1}).draw(subject)
    assert reads.voxels == 0
    with count_reads() as reads:
        draw.start(generator(0, 0, 0))
    assert reads.voxels <= 5 * 8**3  # cells that were drawn, not the map


def test_samplers_yield_patches_as_subjects_at_their_locations(subject):
    patches = list(vx.UniformSampler(PATCH)(subject, 3, seed=5))
    assert len(patches) == 3
    for index, patch in enumerate(patches):
        assert patch.spatial_shape == PATCH
        place = vx.UniformSampler(PATCH).location(subject, index, seed=5)
        assert tuple(patch["location"].tolist()) == place
        start, stop = place[:3], place[3:]
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        assert torch.equal(patch.t1.data, subject.t1[box].data)
        np.testing.assert_array_equal(patch.t1.affine, subject.t1[box].affine)


def test_centres_are_torchios():
    for patch in ((1, 2, 3), (4, 7, 30)):
        map_ = np.ones((30, 31, 32))
        tio.WeightedSampler.clear_probability_borders(map_, np.array(patch))
        mine = np.zeros_like(map_)
        mine[np.ix_(*centres(patch, map_.shape))] = 1
        np.testing.assert_array_equal(mine, map_)


def _map(kind, voxels):
    return vx.Subject(map=kind(tensor=voxels))


def _empty_map(sampler, subject):
    with pytest.raises(StateError, match=r"^EMPTY_MAP: Empty probability map") as caught:
        sampler.draw(subject)
    return str(caught.value)


@pytest.mark.parametrize("archived", [False, True])
def test_a_label_that_does_not_occur_is_not_blamed_on_the_border(tmp_path, archived):
    voxels = np.zeros((1, 9, 9, 9), "u1")
    voxels[:, 4:] = 1
    voxels[:, 0] = 2
    subject = _map(vx.LabelMap, voxels)
    if archived:  # which knows its labels: no voxel is read
        subject["map"].save(tmp_path / "map.ome.zarr")
        subject = vx.Subject(map=vx.LabelMap(tmp_path / "map.ome.zarr"))
    with count_reads() as reads:
        said = _empty_map(vx.LabelSampler(3, "map", {7: 1}), subject)
    assert "'map' has no label 7, only 0, 1, 2" in said
    assert "border" not in said
    if archived:
        assert not reads.voxels
    said = _empty_map(vx.LabelSampler(3, "map", {7: 1, 8: 2, 1: 0}), subject)
    assert "no label 7 and no label 8, only 0, 1, 2" in said
    # Label 2 occurs, but in the outermost voxels only.
    said = _empty_map(vx.LabelSampler(3, "map", {2: 1}), subject)
    assert "border" in said
    assert "no label" not in said
    said = _empty_map(vx.LabelSampler(3, "map", {2: 1, 7: 1}), subject)
    assert "no label 7" in said
    assert "border" in said


def test_maps_without_anything_are_not_blamed_on_the_border():
    empty = np.zeros((1, 9, 9, 9), "u1")
    cases = {
        "no label above 0, only 0": (vx.LabelSampler(3, "map"), vx.LabelMap, empty),
        "no value above 0 in channel 0, only 0": (
            vx.WeightedSampler(3, "map"),
            vx.ScalarImage,
            empty,
        ),
        "no value above 0 in channel 1, only 0": (
            vx.LabelSampler(3, "map", {1: 1}),
            vx.LabelMap,
            np.concatenate([empty + 1, empty]),
        ),
    }
    for text, (sampler, kind, voxels) in cases.items():
        said = _empty_map(sampler, _map(kind, voxels))
        assert text in said
        assert "border" not in said


@pytest.mark.parametrize("size", [0, -3, 2.5, (4, 4), (4, 4, 0), "big"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="Patch dimensions must be one or three positive integers"):
        vx.UniformSampler(size)


def test_what_cannot_be_drawn(subject):
    with pytest.raises(StateError, match=r"Patch size .* cannot be larger") as caught:
        vx.UniformSampler(31).draw(subject)
    assert caught.value.code == "PATCH_TOO_LARGE"
    with pytest.raises(StateError, match="Empty probability map") as caught:
        vx.LabelSampler(PATCH, "seg", {3: 1}).draw(subject)
    assert caught.value.code == "EMPTY_MAP"
    with pytest.raises(ValueError, match="at least 0, and not all 0"):
        vx.LabelSampler(PATCH, "seg", {3: 0})
    with pytest.raises(KeyError, match="'t2' not found"):
        vx.WeightedSampler(PATCH, "t2").draw(subject)
    with pytest.raises(StateError, match="No label maps"):
        vx.LabelSampler(PATCH).draw(vx.Subject(t1=subject.t1))
    negative = vx.ScalarImage(tensor=-np.ones((1, 9, 9, 9), "f4"))
    with pytest.raises(UnsupportedError, match="Negative values") as caught:
        vx.WeightedSampler(3, "w").draw(vx.Subject(w=negative))
    assert caught.value.code == "BAD_WEIGHTS"
    fractions = vx.LabelMap(tensor=np.random.default_rng(0).random((1, 9, 9, 9)))
    with pytest.raises(UnsupportedError, match="not a label map"):
        vx.LabelSampler(3, "w").draw(vx.Subject(w=fractions))
    other = vx.ScalarImage(tensor=np.ones((1, *SHAPE)), affine=np.eye(4))
    with pytest.raises(RuntimeError, match="resample"):
        vx.UniformSampler(3).draw(vx.Subject(t1=subject.t1, other=other))


def test_of_several_label_maps_none_is_taken_unless_it_is_meant(subject):
    prediction = vx.LabelMap(tensor=np.ones((1, *SHAPE), "u1"), affine=subject.t1.affine)
    several = vx.Subject(t1=subject.t1, pred=prediction, seg=subject.seg)
    with pytest.raises(StateError, match=r"label maps \['pred', 'seg'\].*label_name=") as caught:
        vx.LabelSampler(PATCH).draw(several)
    assert caught.value.code == "NO_LABELS"
    single = vx.Subject(t1=subject.t1, seg=subject.seg)
    named = vx.Subject(t1=subject.t1, label=subject.seg, a=prediction)
    expected = starts(vx.LabelSampler(PATCH, "seg"), several)
    for one in (single, named):
        np.testing.assert_array_equal(starts(vx.LabelSampler(PATCH), one), expected)


@pytest.mark.parametrize("keys", [{1.5: 1}, {"1": 1}, {1: float("inf"), 0: 1}, {1: float("nan")}])
def test_probabilities_are_finite_and_of_labels(keys):
    with pytest.raises(ValueError, match="label_probabilities"):
        vx.LabelSampler(4, "seg", keys)
