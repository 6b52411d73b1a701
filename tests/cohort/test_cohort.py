"""`Cohort`: a table, a lazy sequence, another cohort after a transform, patches."""

from __future__ import annotations

import functools
import itertools
import json
import pickle
import re
import shutil
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, archives, array, report_codes, run, save, touch, truth

import voxarray as vx
from voxarray.cohort.catalogue import rows as catalogue
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.mapped import described
from voxarray.cohort.options import InputSelection
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.run.build import ExecutionOptions, build
from voxarray.core.errors import FormatError, MissingFileError, OutOfRangeError, VoxarrayError
from voxarray.testing.counting import count_reads


@pytest.fixture
def cohort(tmp_path) -> vx.Cohort:
    for number in range(3):
        save(tmp_path / f"in/{number}.nii.gz", number)
        mask = (array(number) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / f"in/{number}_seg.nii.gz")
    (tmp_path / "in/bad.nii").write_bytes(b"")
    build(
        tmp_path / "in",
        tmp_path / "out",
        choice=InputSelection(label_patterns=(("seg", "*_seg.nii.gz"),)),
    )
    return vx.Cohort(tmp_path / "out")


def test_a_lazy_sequence(cohort):
    with count_reads() as reads:
        assert len(cohort) == 3
        assert cohort.names == ["0", "1", "2"]
        first, last = cohort[0], cohort[-1]
        assert [one.get_images_names() for one in cohort] == [["image", "seg"]] * 3
        assert last["subject"] == "2"
        assert first.spatial_shape == (12, 10, 8)
        assert cohort[1:].names == ["1", "2"]
        assert "3 subjects; 3 images" in repr(cohort)
        assert "1 without an archive" in repr(cohort)
    assert reads.voxels == 0
    assert np.array_equal(first["image"].numpy()[0], array(0))
    assert np.array_equal(cohort["1"]["seg"].numpy()[0], array(1) > 100)
    assert pickle.loads(pickle.dumps(cohort)).names == cohort.names
    with pytest.raises(OutOfRangeError, match="cohort has 3 subjects, counted from 0"):
        cohort[3]
    with pytest.raises(KeyError):
        cohort["nobody"]
    with pytest.raises(
        KeyError, match=r"no subject 'bad' .*; its image 'image' failed \(TRUNCATED"
    ):
        cohort["bad"]


@pytest.mark.parametrize(
    "make", [lambda c: c, lambda c: c.map(vx.Flip(0))], ids=["plain", "mapped"]
)
def test_several_subjects_by_number_or_name(cohort, make):
    made = make(cohort)
    chosen = {
        ("2", "0"): [[2, 0], [-1, 0], ["2", "0"], np.array([2, 0]), np.array(["2", "0"])],
        ("0", "1"): [range(2), slice(2), [0, "1"]],
        (): [[], slice(0)],
    }
    for names, ways in chosen.items():
        for way in ways:
            part = made[way]
            assert type(part) is type(made)
            assert tuple(one["subject"] for one in part) == names
            assert len(part) == len(names)
    with pytest.raises(OutOfRangeError, match="cohort has 3 subjects, counted from 0"):
        made[[0, 3]]
    with pytest.raises(KeyError, match="nobody"):
        made[["0", "nobody"]]
    with pytest.raises(ValueError, match="'0' is given twice"):
        made[[0, 1, "0"]]


def test_a_list_of_subjects_keeps_their_rows(cohort):
    part = cohort[[2, 0]]
    assert part.names == ["2", "0"]
    assert list(part.table["subject"]) == ["2", "0"]
    assert part["0"].get_images_names() == ["image", "seg"]


@pytest.mark.parametrize(
    "index",
    [
        *([True, False, True], np.array([True, False, True]), True, 1.0, [0.5], None, (0, 2)),
        *({0: 1}, np.array([[0, 1]]), slice("0", "2")),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "make", [lambda c: c, lambda c: c.map(vx.Flip(0))], ids=["plain", "mapped"]
)
def test_what_chooses_no_subject_names_what_does(cohort, make, index):
    with pytest.raises(TypeError, match=r"does not choose subjects of a cohort: .*query.*where"):
        make(cohort)[index]
    column = cohort.table["width"] > 3
    with pytest.raises(
        TypeError, match=r"a Series does not choose subjects.*cohort\.where\(column\)"
    ):
        make(cohort)[column]


def test_notebooks_show_rows_with_pictures(cohort):
    with count_reads() as reads:
        shown = cohort._repr_html_()
    assert reads.voxels == 3 * 10 * 8  # an axial plane of each image
    assert shown.count('<img alt="axial plane" src="data:image/png;base64,') == 3
    shutil.rmtree(Path(cohort.path) / cohort.table.archive[cohort.table.subject == "1"].item())
    damaged = vx.Cohort(cohort.path)._repr_html_()
    assert damaged.count("<img") == 2
    assert "NOT_FOUND" in damaged


def test_notebooks_say_how_many_rows_are_not_shown(cohort, monkeypatch):
    assert "more</p>" not in cohort._repr_html_()
    monkeypatch.setattr("voxarray.cohort.cohort._SHOWN", 2)
    assert "<p>and 1 more</p>" in cohort._repr_html_()


def test_names_in_notebooks_are_text(cohort):
    cohort._table.loc[0, "subject"] = "<script>alert(1)</script>"
    shown = cohort._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_the_table(cohort):
    table = cohort.table.set_index("subject")
    good = table.loc["1"]
    assert (good.width, good.height, good.depth, good.channels) == (12, 10, 8, 1)
    assert (good.spacing_x, good.spacing_min, good.spacing_max) == (1.5, 1.0, 2.0)
    assert (good.orientation, good["dtype"], good.status) == ("SLA", "int16", "done")
    assert (good.minimum, good.maximum) == (array(1).min(), array(1).max())
    assert good.bytes > 0
    assert (table.loc["bad"].status, table.loc["bad"].code) == ("failed", "TRUNCATED")
    rows = cohort.table  # a copy
    rows["width"] = 0
    assert cohort.table.width.max() == 12


def test_queries(cohort):
    assert cohort.query("maximum > 0 and spacing_max <= 2").names == ["0", "1", "2"]
    assert cohort.query("subject == '1'").names == ["1"]
    assert len(cohort.query("spacing_max < 2")) == 0
    assert cohort.where(cohort.table.subject > "0").names == ["1", "2"]
    assert "SLA" in run("catalogue", cohort.path).output
    one = run("catalogue", cohort.path, "--query", "subject == '1'", "--csv").output
    assert len(one.splitlines()) == 2
    assert run("catalogue", cohort.path, "--query", "nonsense <").exit_code == 2


def test_a_hundred_thousand_rows_open_and_filter(tmp_path):
    folder = CohortLayout.of(tmp_path)
    (tmp_path / "subjects/0.ome.zarr").mkdir(parents=True)
    rows = [
        {
            "status": "done",
            "subject": f"sub-{n:06}",
            "image": "T1w",
            "kind": "intensity",
            "labels": [],
            "archive": f"subjects/{n}.ome.zarr",
            "modality": "MR",
            "spacing_max": 1 + n % 3,
            "bytes": n,
        }
        for n in range(100_000)
    ]
    catalogue.write(folder, rows)
    began = time.process_time()
    thin = vx.Cohort(tmp_path).query("modality == 'MR' and spacing_max < 2")
    assert len(thin) == 33_334
    assert time.process_time() - began < 10  # the benchmark holds it to 1 s


def test_what_is_no_cohort(tmp_path):
    with pytest.raises(MissingFileError) as caught:
        vx.Cohort(tmp_path)
    assert caught.value.code == "NO_COHORT"
    save(tmp_path / "in/a.nii")
    run("plan", tmp_path / "in", tmp_path / "out")
    with pytest.raises(MissingFileError, match="finalise") as caught:
        vx.Cohort(tmp_path / "out")
    assert caught.value.code == "NO_CATALOGUE"


# --- map ------------------------------------------------------------------------------------------


def test_map_is_lazy_and_saves_another_cohort(tmp_path, cohort):
    with count_reads() as reads:
        mapped = cohort.map(vx.ToCanonical())
        assert mapped[0]["image"].orientation_str == "RAS"
        assert len(mapped) == 3
    assert reads.voxels == 0
    saved = mapped.save(tmp_path / "new")
    assert saved.names == cohort.names
    for before, after in zip(cohort, saved, strict=True):
        assert after["image"].orientation_str == "RAS"
        expected = nib.as_closest_canonical(nib.Nifti1Image(before["image"].numpy()[0], AFFINE))
        assert np.array_equal(after["image"].numpy()[0], expected.dataobj)
        assert isinstance(after["seg"], vx.LabelMap)
        assert after["image"].history[0]["operation"] == "convert"
    assert saved.table.maximum.tolist() == cohort.table.maximum.dropna().tolist()
    made = truth(tmp_path / "new")
    mapped.save(tmp_path / "new")
    assert truth(tmp_path / "new") == made
    assert len(list((tmp_path / "new/journal").iterdir())) == 1  # nothing was done again


def test_other_arguments_and_archives_save_again(tmp_path, cohort):
    cohort.map(vx.CropOrPad(6)).save(tmp_path / "new")
    other = cohort.map(vx.CropOrPad(5)).save(tmp_path / "new")
    assert {subject.spatial_shape for subject in other} == {(5, 5, 5)}
    save(tmp_path / "in/1.nii.gz", 50)
    touch(tmp_path / "in/1.nii.gz")
    choice = InputSelection(label_patterns=(("seg", "*_seg.nii.gz"),))
    build(tmp_path / "in", tmp_path / "out", choice=choice)
    again = vx.Cohort(cohort.path).map(vx.CropOrPad(5)).save(tmp_path / "new")
    expected = vx.CropOrPad(5)(vx.Cohort(cohort.path)["1"])["image"]
    assert np.array_equal(again["1"]["image"].numpy(), expected.numpy())
    assert again["1"]["image"].numpy().any()


def test_saving_with_workers_makes_the_same(tmp_path, cohort):
    cohort.map(vx.ToCanonical()).save(tmp_path / "serial")
    cohort.map(vx.ToCanonical()).save(tmp_path / "spread", run=ExecutionOptions(workers=2))
    assert truth(tmp_path / "serial") == truth(tmp_path / "spread")


def test_cohorts_are_saved_as_single_files(tmp_path, cohort):
    """As ``--zip`` does."""
    saved = [
        cohort.save(tmp_path / "same", zip=True),
        cohort.map(vx.CropOrPad(6)).save(tmp_path / "cropped", zip=True),
    ]
    for one in saved:
        assert all(archive.endswith(".ozx") for archive in one.table["archive"])
        assert vx.verify(one.path) == []
    assert np.array_equal(saved[0]["1"]["image"].numpy(), cohort["1"]["image"].numpy())
    mapped = cohort.map(vx.CropOrPad(6))
    mapped.plan(tmp_path / "parts", zip=True)
    for number in (1, 2):
        mapped.save(tmp_path / "parts", zip=True, partition=(number, 2))
    assert len(list((tmp_path / "parts/subjects").glob("*.ozx"))) == len(cohort)
    with pytest.raises(VoxarrayError, match=r"zip= would have no effect on \.nii files") as caught:
        cohort.save(tmp_path / "files", suffix=".nii", zip=True)
    assert caught.value.code == "UNUSED_KEYWORD"


def fails_on_one(subject: vx.Subject) -> vx.Subject:
    if subject["subject"] == "1":
        raise ValueError("this quotes a header")
    return subject


def test_a_transform_that_fails_fails_one_image(tmp_path, cohort):
    with pytest.raises(VoxarrayError, match="1 image failed; all others") as caught:
        cohort.map(fails_on_one).save(tmp_path / "new")
    assert caught.value.code == "SOME_FAILED"
    assert vx.Cohort(tmp_path / "new").names == ["0", "2"]
    assert list(report_codes(tmp_path / "new").values()) == ["UNEXPECTED"]
    line = fails_on_one.__code__.co_firstlineno + 2
    told = f"\nUNEXPECTED: ValueError in test_cohort.py, line {line}, which is your own code: "
    assert told in str(caught.value)
    report = (tmp_path / "new/report.txt").read_text()
    assert report.startswith("2 of 3 images are converted, 1 is missing.\n")
    assert "please report" not in report
    assert "quotes a header" not in str(caught.value)


def fails_when_computed(subject: vx.Subject) -> vx.Subject:
    def wrong(block):
        return np.reshape(block, (3, -1, 7))

    def lazily(voxels):
        return voxels.map_blocks(wrong, dtype=voxels.dtype, meta=voxels._meta)

    return vx.Lambda(lazily)(subject)


def test_a_fault_of_a_users_code_is_told_apart_from_one_of_ours(tmp_path, cohort):
    """Also if a library raises it, for a block; a fault that no code of the user has to do with."""
    with pytest.raises(VoxarrayError, match="which is your own code") as caught:
        cohort.map(fails_when_computed).save(tmp_path / "new")
    line = fails_when_computed.__code__.co_firstlineno + 2
    assert f"ValueError in test_cohort.py, line {line}, which" in str(caught.value)
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        json.loads("{")
    raised.value.__traceback__ = raised.tb.tb_next  # without the frame of this test
    message = failure_of(raised.value, "a", {}).message
    assert re.fullmatch(r"JSONDecodeError in \w+\.py, line \d+: please report this", message)


def test_not_onto_itself_or_another(tmp_path, cohort):
    with pytest.raises(FormatError, match="the cohort itself"):
        cohort.map(vx.ToCanonical()).save(cohort.path)
    save(tmp_path / "other/a.nii")
    build(tmp_path / "other", tmp_path / "another")
    with pytest.raises(FormatError) as caught:
        cohort.map(vx.ToCanonical()).save(tmp_path / "another")
    assert caught.value.code == "OTHER_SOURCE"
    assert len(archives(tmp_path / "another")) == 1


def test_transforms_are_told_apart():
    assert described(vx.CropOrPad(5)) == described(vx.CropOrPad(5))
    assert described(vx.CropOrPad(5)) != described(vx.CropOrPad(6))
    one, two = vx.Compose([vx.ToCanonical()]), vx.Compose([vx.ToCanonical(), vx.CropOrPad(5)])
    assert described(one) != described(two)
    assert described(lambda s: s) != described(lambda s: vx.CropOrPad(2)(s))


def holding(value):
    inner = lambda: value  # noqa: E731
    return lambda s: (inner, s)


def test_functions_are_told_apart_by_what_they_hold():
    values = (1, 1.0, "1", None, (1,), np.arange(2), vx.CropOrPad(5), vx.CropOrPad(6))
    known = [described(holding(value)) for value in values]
    assert known == [described(holding(value)) for value in values]
    assert all(one != two for one, two in itertools.combinations(known, 2))


def test_a_function_that_holds_itself_or_an_image_is_described_without_reading():
    def again(s):
        return again(s)

    assert described(again) == described(again)
    image, filled = vx.testing.sample(), []
    before = described(holding(filled))
    filled.append(1)
    with count_reads() as reads:
        assert described(holding(image)) == described(holding(image))
    assert (reads.voxels, described(holding(filled))) == (0, before)


SPACING = 2.0
COUNT = 0


def by_global(subject):
    return vx.Resample(SPACING)(subject)


def by_global_of_another(subject):
    return max(by_global(each) for each in [subject])


def counting(subject):
    global COUNT
    COUNT += 1
    return subject


class Spaced:
    def __init__(self, spacing):
        self.spacing = spacing

    def __call__(self, subject):
        return vx.Resample(self.spacing)(subject)

    def method(self, subject):
        return vx.Resample(self.spacing)(subject)


@pytest.mark.parametrize("function", [by_global, by_global_of_another], ids=["direct", "nested"])
def test_functions_are_told_apart_by_global_values(monkeypatch, function):
    before = described(function)
    monkeypatch.setitem(globals(), "SPACING", 3.0)
    assert described(function) != before


@pytest.mark.parametrize(
    "made",
    [
        lambda n: vx.Lambda(lambda x: x * n),
        lambda n: vx.Compose([vx.ToCanonical(), vx.Lambda(lambda x: x * n)]),
        lambda n: functools.partial(lambda s, k: (s, k), k=n),
        lambda n: lambda s, *, k=n: (s, k),
        lambda n: lambda s, k=lambda: n: (s, k),
        Spaced,
        lambda n: Spaced(n).method,
        lambda n: functools.partial(Spaced(n).method),
    ],
    ids=[
        *("Lambda", "Compose", "partial", "keyword", "default", "object", "method"),
        "partial method",
    ],
)
def test_functions_in_transforms_and_objects_are_told_apart(made):
    assert described(made(1)) == described(made(1))
    assert described(made(1)) != described(made(2))


def test_other_code_in_a_lambda_is_another():
    assert described(vx.Lambda(lambda x: x * 2)) != described(vx.Lambda(lambda x: x * 3))


def test_what_a_function_counts_does_not_make_it_another(monkeypatch):
    before = described(counting)
    monkeypatch.setitem(globals(), "COUNT", 5)
    assert described(counting) == before


@pytest.mark.parametrize("hold", [Spaced, holding, lambda image: vx.Lambda(Spaced(image).method)])
def test_images_are_told_apart_without_reading_files(tmp_path, hold):
    image = vx.testing.sample((6, 5, 4))
    image.save(tmp_path / "a.nii")
    vx.ScalarImage(tensor=image.data + 1, affine=image.affine).save(tmp_path / "b.nii")
    one, two = vx.ScalarImage(tmp_path / "a.nii"), vx.ScalarImage(tmp_path / "b.nii")
    with count_reads() as reads:
        assert described(hold(one)) == described(hold(vx.ScalarImage(tmp_path / "a.nii")))
        assert described(hold(one)) != described(hold(two))
        assert described(hold(one)) != described(hold(one[1:]))
    assert reads.voxels == 0
    in_memory = [vx.ScalarImage(tensor=each.data, affine=each.affine) for each in (one, one, two)]
    arrays = [vx.ScalarImage(tensor=each.numpy().copy(), affine=each.affine) for each in in_memory]
    for images in (in_memory, arrays):
        known = [described(hold(each)) for each in (*images, images[0][..., 1:])]
        assert known[0] == known[1]
        assert known[2] != known[0] != known[3]


def test_another_function_in_a_transform_makes_a_cohort_again(tmp_path, cohort):
    first = cohort.map(vx.Lambda(lambda x: x * 2)).save(tmp_path / "new")
    twice = first[0].image.numpy()
    again = cohort.map(vx.Lambda(lambda x: x * 3)).save(tmp_path / "new")
    np.testing.assert_array_equal(again[0].image.numpy(), twice // 2 * 3)


# --- dataset --------------------------------------------------------------------------------------


def test_patches(cohort):
    from voxarray.patches import UniformSampler

    for subjects in (cohort, cohort.map(vx.ToCanonical())):
        dataset = subjects.dataset(UniformSampler(4))
        patch = dataset[0]
        assert patch["image"]["data"].shape == (1, 4, 4, 4)
        assert patch["subject"] in cohort.names
