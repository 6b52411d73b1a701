"""Small images are opened some at a time; each is still converted, warned of and failed alone."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import dask.config
import nibabel as nib
import pytest
from cohort_samples import AFFINE, array, save, truth

from voxarray.cohort.catalogue.journal import records
from voxarray.cohort.options import ArchiveOptions, InputSelection
from voxarray.cohort.plan.opened_inputs import FileOpener
from voxarray.cohort.run import build as module
from voxarray.cohort.run import opened_ahead as ahead
from voxarray.cohort.run import task as tasks_of
from voxarray.cohort.run.build import build
from voxarray.cohort.run.job import Job

ODD = 5
"""Number of the scan whose header is odd."""


@pytest.fixture
def scans(tmp_path):
    for number in range(2 * ahead.TOGETHER + 3):
        save(tmp_path / f"in/{number:02}.nii.gz", number)
    image = nib.Nifti1Image(array(ODD), AFFINE)
    image.header["pixdim"][1] = -1.0
    nib.save(image, tmp_path / f"in/{ODD:02}.nii.gz")
    return tmp_path / "in"


@pytest.fixture
def job(scans, tmp_path):
    options = ArchiveOptions()
    found = module.discover_inputs(scans, tmp_path / "out", InputSelection(), options)
    with pytest.warns(match="NEGATIVE_SPACING"):
        plan = module.make_plan(found, scans, tmp_path / "out", options)
    opener_of = module._file_openers({one.source: one.location for one in found})
    return Job(plan.items, opener_of, str(tmp_path / "out"), options, False)


def made_of(job):
    return [job.task(item) for item in job.items]


def test_files_opened_ahead_come_in_order_and_few_are_open(job, monkeypatch):
    opened, original = [], FileOpener.open

    def noted(self, item):
        opened.append(item.slug)
        return original(self, item)

    monkeypatch.setattr(FileOpener, "open", noted)
    given = made_of(job)
    for number, one in enumerate(ahead.opened_ahead(given)):
        assert one.item == given[number].item
        assert one.prepared is not None
        assert number < len(opened) <= number + ahead.TOGETHER
    assert opened == [one.item.slug for one in given]


def test_files_opened_ahead_are_opened_once_and_converted_alike(job, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "LARGEST", 0)  # as if none were small
    with pytest.warns(match="NEGATIVE_SPACING"):
        build(scans, tmp_path / "one_by_one")
    monkeypatch.undo()
    opened, original = [], FileOpener.open

    def noted(self, item):
        opened.append(item.slug)
        return original(self, item)

    monkeypatch.setattr(FileOpener, "open", noted)
    with dask.config.set({"voxarray.threads": 1}):
        made = build(scans, tmp_path / "out")
    assert (made.converted, made.failed) == (len(job.items), 0)
    assert sorted(opened) == sorted(item.slug for item in job.items)
    assert truth(tmp_path / "out") == truth(tmp_path / "one_by_one")


def test_warnings_stay_with_their_image(job):
    told = {one.item.subject: one.run().remarks for one in ahead.opened_ahead(made_of(job))}
    assert [name for name, remarks in told.items() if remarks] == [f"{ODD:02}"]
    (remark,) = told[f"{ODD:02}"]
    assert remark.startswith("NEGATIVE_SPACING")
    noted = [one for one in records(os.path.join(job.root, "journal")) if one["remarks"]]
    assert [one["remarks"] for one in noted] == [[remark]]


def test_a_file_that_changes_when_it_is_open_already_is_not_mixed(job, scans):
    found = {}
    for one in ahead.opened_ahead(made_of(job)):
        if one.item.subject == "00":
            save(scans / "07.nii.gz", 99, (12, 10, 9))
            (scans / "08.nii.gz").unlink()
        found[one.item.subject] = one.run()
    failed = {name: one.failure.code for name, one in found.items() if one.failure}
    assert failed == {"07": "SOURCE_CHANGED", "08": "SOURCE_CHANGED"}


def test_what_cannot_be_opened_fails_alone(job, scans):
    (scans / "03.nii.gz").write_bytes(b"")
    found = [one.run() for one in ahead.opened_ahead(made_of(job))]
    failed = [(one.slug[:2], one.failure.code) for one in found if one.failure]
    assert failed == [("03", "SOURCE_CHANGED")]
    assert sum(one.status == "converted" for one in found) == len(found) - 1


def test_the_time_of_opening_counts(job, monkeypatch):
    monkeypatch.setattr(tasks_of, "noted_down", lambda result, *_: result)
    one, other = list(ahead.opened_ahead(made_of(job)))[:2]
    late = replace(one, prepared=replace(one.prepared, seconds=100.0))
    assert late.run().seconds > 100 > other.run().seconds


def test_only_small_local_files_are_opened_ahead(job):
    task = made_of(job)[0]
    large = replace(task.item.header, voxel_bytes=ahead.LARGEST + 1)
    away = FileOpener({task.item.origin.source: "http://127.0.0.1:1/a.nii.gz"})

    def never(item):
        raise AssertionError(item)

    left = [
        replace(task, item=replace(task.item, header=large)),
        replace(task, item=replace(task.item, header=None)),
        replace(task, opener=away),
        replace(task, opener=SimpleNamespace(open=never, places={})),
    ]
    assert [one.prepared for one in ahead.opened_ahead(left)] == [None] * len(left)
    assert [one.prepared for one in ahead.opened_ahead([task])] == [None]
