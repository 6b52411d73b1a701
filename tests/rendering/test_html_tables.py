"""Values show themselves in notebooks as tables; nothing of them is interpreted or read."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.cohort.plan.item import Failure
from voxarray.cohort.run.result import CohortResult
from voxarray.core.html_table import html_table

SCAN = vx.ScalarImage(tensor=np.zeros((1, 20, 18, 16), np.int16))
LABELS = vx.LabelMap(tensor=np.ones((1, 20, 18, 16), np.uint8))
PATCHES = ([vx.Subject(t1=SCAN)] * 3, vx.UniformSampler(8), 4)


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        (SCAN.grid, ["Grid", "(20, 18, 16)", "1.00", "RAS+", "-0.50 to 19.50"]),
        (vx.Grid((4, 4, 4), np.diag([3.25e-4, 3.25e-4, 1e-3, 1])), ["0.000325", "0.001"]),
        (SCAN.memory_report(), ["MemoryReport", "not on disk", "11.2 KiB"]),
        (SCAN.statistics(), ["Statistics", "5760", "mean", "exact"]),
        (vx.Resample(2), ["Resample", "target"]),
        (vx.Compose([vx.ToCanonical(), vx.Resample(2)]), ["Compose", ">1<", ">2<", "ToCanonical"]),
        (vx.UniformSampler(8), ["UniformSampler", "(8, 8, 8)"]),
        (vx.LabelSampler(8, label_name="seg"), ["LabelSampler", "label_name", "seg"]),
        (vx.PatchDataset(*PATCHES, seed=5), ["PatchDataset", ">12<", ">3<", "UniformSampler"]),
        (vx.IterablePatchDataset(*PATCHES), ["IterablePatchDataset", "shuffle_buffer"]),
        (vx.GridSampler(PATCHES[0][0], 8, 2), ["GridSampler", ">27<", "(2, 2, 2)", "(20, 18, 16)"]),
        (vx.evaluate(LABELS, LABELS), ["Evaluation", "overflow-x: auto", "dice", "1.0", "5760"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_value_is_can_be_read(value, facts):
    shown = value._repr_html_()
    for fact in facts:
        assert fact in shown, shown


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (
            vx.PatchDataset(*PATCHES, seed=5),
            "PatchDataset(patches: 12; subjects: 3; "
            "sampler: UniformSampler(patch_size=(8, 8, 8)); seed: 5)",
        ),
        (
            vx.IterablePatchDataset(*PATCHES, seed=5),
            "IterablePatchDataset(patches: 12; subjects: 3; "
            "sampler: UniformSampler(patch_size=(8, 8, 8)); seed: 5)",
        ),
        (
            vx.GridSampler(PATCHES[0][0], 8, 2),
            "GridSampler(patches: 27; patch_size: (8, 8, 8); patch_overlap: (2, 2, 2); "
            "padding_mode: None)",
        ),
        (
            vx.LabelSampler(8, "seg", {1: 0.5}),
            "LabelSampler(patch_size=(8, 8, 8), label_name='seg', label_probabilities={1: 0.5})",
        ),
        (
            CohortResult(4, 1, 2, 3, None, "asked"),
            "CohortResult(converted: 4; up to date: 1; failed: 2; remaining: 3; "
            "stopped because: asked)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reprs_fit_in_a_line(value, line):
    assert repr(value) == line


def test_what_became_of_a_cohort_is_a_table(tmp_path):
    vx.testing.sample((12, 10, 8)).save(tmp_path / "scans" / "a.nii")
    for name in ("<b>.nii", "c.nii"):
        (tmp_path / "scans" / name).write_bytes(b"no scan")
    made = vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort", progress=False)
    shown = made._repr_html_()
    assert "<b>" not in shown
    for fact in ("converted", ">1<", ">2<", "&lt;b&gt;.nii", "c.nii"):
        assert fact in shown, shown


def test_a_mapped_cohort_computes_nothing(tmp_path):
    vx.testing.sample((12, 10, 8)).save(tmp_path / "scans" / "a.nii")
    vx.convert_cohort(tmp_path / "scans", tmp_path / "cohort", progress=False)
    mapped = vx.Cohort(tmp_path / "cohort").map(vx.ToCanonical())
    with vx.testing.count_reads() as reads:
        shown = mapped._repr_html_()
    assert reads.voxels == 0
    assert "ToCanonical" in shown
    assert ">1<" in shown


def test_texts_are_not_interpreted():
    shown = html_table("<b>", {"<i>": "<script>", "long": "x" * 1000})
    assert "<b>" not in shown
    assert "<script>" not in shown
    assert "x" * 199 + "\N{HORIZONTAL ELLIPSIS}" in shown


def test_a_subject_shows_its_metadata():
    assert "43" in vx.Subject(t1=SCAN, age=43)._repr_html_()


def test_two_failures_of_one_file_are_both_told():
    told = [Failure(code, f"why {code}", "scans/all") for code in ("BAD_DIMS", "NO_POSITION")]
    shown = CohortResult(0, 0, 2, 0, None, failures=tuple(told))._repr_html_()
    assert "BAD_DIMS: why BAD_DIMS; NO_POSITION: why NO_POSITION" in shown
