"""The picture of an evaluation: the prediction where it lies, over the scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx

AFFINE = np.diag([-1.0, -1.0, 2.0, 1])


def phantom(affine=AFFINE):
    """A scan, and a label at the patient's left, in front, in the slices 3 to 6."""
    scan = np.full((1, 40, 40, 10), 100, np.int16)
    scan[:, :2] = 0
    labels = np.zeros((1, 40, 40, 10), np.uint8)
    labels[0, 28:36, 4:12, 3:6] = 1
    labels[0, 30:34, 6:8, 6] = 1
    return vx.ScalarImage(tensor=scan, affine=affine), vx.LabelMap(tensor=labels, affine=affine)


def above_half(patches):
    return torch.cat([0.5 - patches, patches - 0.5], 1)


def coloured(path):
    from matplotlib.image import imread

    pixels = imread(path)[..., :3]
    return np.argwhere(pixels.max(-1) - pixels.min(-1) > 0.2), pixels.shape


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAL"])
def test_the_prediction_is_coloured_where_it_lies(tmp_path, orientation):
    scan, labels = (one.to_orientation(orientation) for one in phantom())
    vx.evaluate(labels, labels, images=scan, montage=tmp_path / "a.png")
    where, (rows, columns, _) = coloured(tmp_path / "a.png")
    assert len(where) > 200
    middle = where.mean(0)
    # Index 31.5 of 40 from right to left is at the patient's left: on the right of the panel.
    assert 0.5 + 0.5 * 0.65 < middle[1] / columns < 1
    assert middle[0] / rows < 0.5  # in front: in the upper half


def test_what_is_missing_or_elsewhere_is_named(tmp_path):
    _, labels = phantom()
    other, _ = phantom(np.eye(4))
    for images, code in ((None, "NO_SCAN"), (other, "GRID_MISMATCH")):
        with pytest.raises(vx.VoxarrayError) as caught:
            vx.evaluate(labels, labels, images=images, montage=tmp_path / "b.png")
        assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_a_row_per_subject_up_to_the_most(tmp_path):
    _, labels = phantom()
    (tmp_path / "files").mkdir()
    for number in range(3):
        scan = vx.ScalarImage(tensor=labels.numpy().astype("f4"), affine=labels.affine)
        scan.save(tmp_path / "files" / f"sub-{number}.nii.gz")
    vx.convert_cohort(tmp_path / "files", tmp_path / "scans", progress=False)
    scans = vx.Cohort(tmp_path / "scans")
    vx.infer(above_half, scans, tmp_path / "labels", patch_size=16, progress=False)
    maps = vx.Cohort(tmp_path / "labels")
    heights = []
    for most in (1, 3):
        path = tmp_path / f"{most}.png"
        table = vx.evaluate(maps, maps, images=scans, montage=path, most=most, progress=False)
        assert list(table["subject"]) == maps.names
        heights.append(coloured(path)[1][0])
    assert heights[1] > 2.5 * heights[0]
    with pytest.raises(vx.StateError) as caught:
        vx.evaluate(maps, maps, images=scans[:2], montage=tmp_path / "c.png", progress=False)
    assert caught.value.code == "NO_SCAN"


def test_of_several_scans_the_one_with_the_labels_is_drawn(tmp_path, monkeypatch):
    scan, labels = phantom()
    for name, image in {"flair": vx.Resample(3)(scan), "t1": scan, "seg": labels}.items():
        image.save(tmp_path / "files" / f"a_{name}.nii.gz")
    patterns = {"flair": "*_flair.nii.gz", "t1": "*_t1.nii.gz"}
    vx.convert_cohort(
        tmp_path / "files",
        tmp_path / "cohort",
        image_patterns=patterns,
        label_patterns={"seg": "*_seg.nii.gz"},
        progress=False,
    )
    cohort = vx.Cohort(tmp_path / "cohort")
    maps = vx.Cohort(tmp_path / "cohort").map(only_labels).save(tmp_path / "maps", progress=False)
    drawn = []
    monkeypatch.setattr(
        "voxarray.inference.evaluation_montage.montage_row",
        lambda *given: drawn.append(given[1].path),
    )
    monkeypatch.setattr("voxarray.inference.evaluation_montage.save_montage", lambda *_: None)
    chosen = {"layer": "seg", "reference_layer": "seg", "montage": tmp_path / "a.png"}
    vx.evaluate(maps, cohort, **chosen, progress=False)
    vx.evaluate(cohort, maps, images=cohort, **chosen, progress=False)
    assert drawn == [cohort["a"].t1.path] * 2
    with pytest.raises(vx.StateError, match=r"query\(\"image == 't1'\"\), or on the .* --images"):
        vx.evaluate(maps, maps, images=cohort, **chosen, progress=False)


def only_labels(subject):
    return vx.Subject(seg=subject.seg, subject=subject["subject"])


def test_the_fullest_slice_is_drawn_whatever_the_pieces(monkeypatch, tmp_path):
    from voxarray.inference.evaluation_montage import Slices

    monkeypatch.setattr("voxarray.source.pieces.PIECE_BYTES", 2_000)
    seen = []
    monkeypatch.setattr(
        "voxarray.inference.evaluation_montage.montage_row", lambda *given: seen.append(given[-1])
    )
    monkeypatch.setattr("voxarray.inference.evaluation_montage.save_montage", lambda *_: None)
    scan, labels = phantom()
    voxels = labels.numpy().copy()
    voxels[0, 0, 0, 4] = 1
    for orientation in ("LPS", "LPI"):
        found = vx.LabelMap(tensor=voxels, affine=labels.affine).to_orientation(orientation)
        over = scan.to_orientation(orientation)
        vx.evaluate(found, found, images=over, montage=tmp_path / "d.png")
    assert seen == [4, 4]
    assert Slices(scan.grid).fullest is None


@pytest.mark.parametrize("options", [{"images": "scan.nii"}, {"montage": "a.png", "most": 0}])
def test_options_that_mean_nothing_are_refused(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    _, labels = phantom()
    with pytest.raises(ValueError, match=r"montage=|at least one"):
        vx.evaluate(labels, labels, **options)
    assert not any(tmp_path.iterdir())
