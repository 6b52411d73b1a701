"""Dice, volumes and distances between surfaces, against numpy and MONAI."""

from __future__ import annotations

import dask
import numpy as np
import pytest

import voxarray as vx


def maps(shape=(30, 28, 26), labels=4, seed=0, affine=None):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.random((labels, *shape)), (0, 3, 3, 3))
    truth = fields.argmax(0).astype(np.uint8)
    moved = np.roll(truth, (1, -1, 2), axis=(0, 1, 2))
    affine = np.diag([0.8, 1.2, 3.0, 1]) if affine is None else affine
    return [vx.LabelMap(tensor=one[None], affine=affine) for one in (moved, truth)]


def test_dice_and_volumes_are_those_of_numpy():
    found, truth = maps()
    scores = vx.evaluate(found, truth)
    a, b = found.numpy(), truth.numpy()
    assert list(scores) == [1, 2, 3]
    for label in scores:
        one, other = a == label, b == label
        dice = 2 * (one & other).sum() / (one.sum() + other.sum())
        assert scores[label].dice == pytest.approx(dice, abs=1e-12)
        assert scores[label].predicted == pytest.approx(one.sum() * 0.8 * 1.2 * 3)
        assert scores[label].reference == pytest.approx(other.sum() * 0.8 * 1.2 * 3)


def test_a_label_that_was_not_compared_is_named_with_those_that_were():
    labels = vx.LabelMap(tensor=np.full((1, 2, 2, 2), 3, np.uint8))
    scores = vx.evaluate(labels, vx.LabelMap(tensor=labels.numpy()), surfaces=False)
    with pytest.raises(KeyError, match="no label 7 was compared; compared: 3"):
        scores[7]


def test_surfaces_are_those_of_monai():
    metrics = pytest.importorskip("monai.metrics")
    import torch

    found, truth = maps(labels=3)
    scores = vx.evaluate(found, truth)
    a, b = (
        torch.stack([torch.from_numpy(m.numpy()[0] == k) for k in range(3)])[None].float()
        for m in (found, truth)
    )
    spacing = list(truth.spacing)
    largest = metrics.compute_hausdorff_distance(a, b, spacing=spacing)[0]
    most = metrics.compute_hausdorff_distance(a, b, percentile=95, spacing=spacing)[0]
    for number, label in enumerate(scores):
        surfaces = scores[label].surfaces
        assert surfaces.hausdorff == pytest.approx(float(largest[number]), rel=1e-5)
        assert surfaces.hausdorff95 == pytest.approx(float(most[number]), rel=1e-4)
        one, other = (m.numpy()[0] == label for m in (found, truth))
        ways = np.concatenate(
            [
                metrics.utils.get_surface_distance(x, y, spacing=spacing)
                for x, y in _edges(one, other)
            ]
        )
        assert surfaces.mean == pytest.approx(ways.mean(), rel=1e-4)


def _edges(one, other):
    from monai.metrics.utils import get_mask_edges

    x, y = get_mask_edges(one, other, crop=False)
    return (x, y), (y, x)


def test_a_label_absent_from_one_map_has_dice_zero(tmp_path):
    found, truth = maps()
    only = vx.LabelMap(tensor=np.where(found.numpy() == 2, 0, found.numpy()), affine=found.affine)
    scores = vx.evaluate(only, truth, labels=[2, 9])
    assert (scores[2].dice, scores[2].surfaces) == (0, None)
    assert np.isnan(scores[9].dice)
    assert list(scores.table["label"]) == [2, 9]
    assert np.isnan(scores.table["hausdorff_mm"]).all()


def test_voxels_are_read_in_pieces_and_names_come_from_archives(tmp_path, monkeypatch):
    found, truth = maps(shape=(40, 40, 40))
    found.save(tmp_path / "a.ome.zarr", chunks=16)
    truth.save(tmp_path / "b.nii.gz")
    monkeypatch.setattr("voxarray.source.pieces.PIECE_BYTES", 20_000)
    pieces = vx.evaluate(tmp_path / "a.ome.zarr", tmp_path / "b.nii.gz")
    whole = vx.evaluate(found, truth)
    assert {k: s.row() for k, s in pieces.items()} == {k: s.row() for k, s in whole.items()}


def test_what_cannot_be_compared_is_named():
    found, truth = maps()
    other = maps(affine=np.eye(4))[0]
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    probabilities = vx.ScalarImage(tensor=np.full((1, 30, 28, 26), 0.5, "f4"), affine=truth.affine)
    channels = vx.LabelMap(tensor=np.zeros((2, 30, 28, 26), "u1"), affine=truth.affine)
    for one, code in (
        (other, "GRID_MISMATCH"),
        (probabilities, "NO_LABELS"),
        (channels, "NO_LABELS"),
    ):
        with pytest.raises(vx.VoxarrayError) as caught:
            vx.evaluate(one, truth)
        assert caught.value.code == code
    pair = maps(affine=sheared)
    with pytest.raises(vx.GridError) as caught:
        vx.evaluate(*pair)
    assert caught.value.code == "SHEARED"
    assert len(vx.evaluate(*pair, surfaces=False)) == 3
    with (
        dask.config.set({"voxarray.memory-budget": "100 kB"}),
        pytest.raises(vx.MemoryBudgetError, match="surfaces=False"),
    ):
        vx.evaluate(found, truth)


# --- What is compared with itself -----------------------------------------------------------------


def cohort_of_two_layers(folder):
    for number, name in enumerate(("a", "b")):
        one, two = maps((9, 8, 7), seed=number)
        vx.ScalarImage(tensor=np.zeros((1, 9, 8, 7), np.float32), affine=one.affine).save(
            folder / f"in/{name}.nii"
        )
        one.save(folder / f"in/{name}_one.nii")
        two.save(folder / f"in/{name}_two.nii")
    vx.convert_cohort(
        folder / "in",
        folder / "cohort",
        image_patterns={"t1": "{subject}.nii"},
        label_patterns={layer: f"{{subject}}_{layer}.nii" for layer in ("one", "two")},
        progress=False,
    )
    return vx.Cohort(folder / "cohort")


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        ([1.5], TypeError, r"whole numbers other than 0.*\[1, 2\], but 1.5 is not one of these"),
        (["liver"], TypeError, "'liver' is not one of these"),
        ([1, 0], ValueError, r"0 is among \[1, 0\]: leave it out"),
        (1, TypeError, "and not 1"),
        ("12", TypeError, "and not '12'"),
    ],
)
def test_labels_that_are_none_are_refused_before_reading(labels, error, said):
    one = vx.LabelMap(tensor=np.ones((1, 4, 4, 4), np.uint8))
    with vx.testing.count_reads() as reads, pytest.raises(error, match=said):
        vx.evaluate(one, one, labels=labels)
    assert reads.voxels == 0
    chosen = vx.evaluate(one, one, labels=np.array([1, 7, 1]))
    assert [*chosen] == [1, 7]


def test_a_cohort_with_itself_warns_of_one_layer_and_not_of_two(tmp_path, recwarn):
    cohort, again = cohort_of_two_layers(tmp_path), vx.Cohort(tmp_path / "cohort")
    names = {"layer": "one", "reference_layer": "two", "surfaces": False, "progress": False}
    vx.evaluate(cohort, again, **names)
    assert not [one for one in recwarn if "SAME_LABELS" in str(one.message)]
    with pytest.warns(vx.VoxarrayWarning, match="SAME_LABELS: for 2 of 2 subjects") as told:
        table = vx.evaluate(cohort, again, **names | {"reference_layer": "one"})
    assert (table["dice"] == 1).all()
    assert (len(told), told[0].filename) == (1, __file__)


def test_a_label_map_with_itself_is_named(tmp_path, recwarn):
    path = tmp_path / "a.nii"
    one, other = maps((9, 8, 7))
    one.save(path)
    changed = vx.RemapLabels({1: 2})(vx.LabelMap(path))
    for pair in ((changed, path), (one, other), (path, one)):
        vx.evaluate(*pair, surfaces=False, progress=False)
    assert not [one for one in recwarn if "SAME_LABELS" in str(one.message)]
    for pair in ((one, one), (path, str(path))):
        with pytest.warns(vx.VoxarrayWarning, match="SAME_LABELS: prediction and ref") as told:
            vx.evaluate(*pair, surfaces=False, progress=False)
        assert told[0].filename == __file__


def test_layers_of_mapped_cohorts_are_refused_with_what_to_do():
    image = vx.testing.sample()
    told = "not of ScalarImage and list: to compare two .* out; save mapped cohorts first"
    with pytest.raises(ValueError, match=told):
        vx.evaluate(image, [], layer="a")


def test_references_on_another_grid_are_resampled_as_the_message_says(tmp_path):
    """Of two subjects, the reference of one has voxels of half the size of the scan."""
    voxels = np.zeros((1, 12, 12, 12), np.uint8)
    voxels[:, 4:8, 4:8, 4:8] = 1
    for name, finer in (("a", 2), ("b", 1)):
        vx.ScalarImage(tensor=voxels.astype(np.float32)).save(tmp_path / f"in/{name}_t1.nii")
        affine = np.diag([1 / finer, 1 / finer, 1 / finer, 1])
        affine[:3, 3] = (1 / finer - 1) / 2
        fine = voxels.repeat(finer, 1).repeat(finer, 2).repeat(finer, 3)
        vx.LabelMap(tensor=fine, affine=affine).save(tmp_path / f"in/{name}_seg.nii")
        vx.LabelMap(tensor=voxels).save(tmp_path / f"made/{name}.nii")
    vx.convert_cohort(
        tmp_path / "in",
        tmp_path / "cohort",
        image_patterns={"t1": "{subject}_t1.nii"},
        label_patterns={"seg": "{subject}_seg.nii"},
        progress=False,
    )
    vx.convert_cohort(
        tmp_path / "made", tmp_path / "labels", label_patterns={"label": "*.nii"}, progress=False
    )
    labels, reference = vx.Cohort(tmp_path / "labels"), vx.Cohort(tmp_path / "cohort")
    told = r'GRID_MISMATCH.*such as by reference\.map\(vx\.Resample\("t1"\)\)\.save\(folder\)'
    with pytest.raises(vx.VoxarrayError, match=told):
        vx.evaluate(labels, reference, progress=False)
    mapped = reference.map(vx.Resample("t1"))
    assert mapped.names == reference.names
    resampled = mapped.save(tmp_path / "reference", progress=False)
    table = vx.evaluate(labels, resampled, progress=False)
    assert list(table["subject"]) == ["a", "b"]
    assert list(table["dice"]) == [1, 1]


@pytest.mark.parametrize("intensities", ["prediction", "reference"])
def test_archives_of_intensities_are_no_label_maps(tmp_path, intensities):
    found, truth = maps()
    path = tmp_path / "scan.ome.zarr"
    vx.ScalarImage(tensor=found.numpy(), affine=found.affine).save(path)
    given = {"prediction": truth, "reference": truth, intensities: path}
    with pytest.raises(vx.UnsupportedError, match=f"the {intensities} is an archive of inten") as e:
        vx.evaluate(**given)
    assert e.value.code == "NO_LABELS"
    said = {**given, intensities: vx.LabelMap(path)}  # the caller knows
    assert vx.evaluate(**said).table.dice.notna().any()
    vx.LabelMap(path).save(tmp_path / "labels.ome.zarr")  # as the message advises
    assert set(vx.evaluate(tmp_path / "labels.ome.zarr", found)) == {1, 2, 3}
