"""Two runs that begin at once in one folder: the second to have planned does not take it over."""

from __future__ import annotations

import shutil

import pytest
from cohort_samples import save, truth

import voxarray as vx
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan import previous
from voxarray.cohort.run.build import build
from voxarray.cohort.run.progress import ProgressListener
from voxarray.core.errors import FormatError


class Overtaken(ProgressListener):
    """Lets another run begin, and end, while this one plans."""

    def __init__(self, other) -> None:
        self.other = other

    def planned(self, done: int, total: int) -> None:
        if done == total:
            self.other()


@pytest.fixture
def sources(tmp_path):
    for number in range(2):
        save(tmp_path / f"a/{number}.nii", number)
        save(tmp_path / f"b/{number}.nii", 10 + number)
    return tmp_path


def test_other_sources_do_not_take_a_folder_over(sources):
    first = Overtaken(lambda: build(sources / "a", sources / "out"))
    with pytest.raises(FormatError, match="while this run planned") as caught:
        build(sources / "b", sources / "out", watcher=first)
    assert caught.value.code == "OTHER_SOURCE"
    assert vx.verify(sources / "out", source=sources / "a") == []


def test_the_other_form_does_not_either(sources):
    zipped = Overtaken(
        lambda: build(sources / "a", sources / "out", options=ArchiveOptions(zipped=True))
    )
    with pytest.raises(FormatError, match="in another form"):
        build(sources / "a", sources / "out", watcher=zipped)
    assert vx.verify(sources / "out", source=sources / "a") == []


def test_the_same_sources_share_a_folder(sources):
    same = Overtaken(lambda: build(sources / "a", sources / "out"))
    made = build(sources / "a", sources / "out", watcher=same)
    assert (made.present, made.failed) == (2, 0)


def test_mapped_cohorts_do_not_take_a_folder_over(sources, monkeypatch):
    build(sources / "a", sources / "ca")
    build(sources / "b", sources / "cb")
    vx.Cohort(sources / "ca").map(vx.Flip(0)).save(sources / "out")
    before = truth(sources / "out")
    real, looks = previous.previous_plan, []

    def too_early(folder):
        looks.append(folder)
        return real(folder) if len(looks) > 1 else None

    for name in (
        "voxarray.cohort.mapped.previous_plan",
        "voxarray.cohort.plan.previous.previous_plan",
    ):
        monkeypatch.setattr(name, too_early)
    with pytest.raises(FormatError, match="while this run planned"):
        vx.Cohort(sources / "cb").map(vx.Flip(0)).save(sources / "out", mixed=True)
    assert truth(sources / "out") == before


def test_a_plan_that_appears_in_the_last_moment(sources, monkeypatch):
    create = previous.create_file

    def late(path, data):
        monkeypatch.undo()
        build(sources / "a", sources / "out")
        return create(path, data)

    monkeypatch.setattr(previous, "create_file", late)
    with pytest.raises(FormatError, match="while this run planned"):
        build(sources / "b", sources / "out")
    assert vx.verify(sources / "out", source=sources / "a") == []


class Beside(ProgressListener):
    """Does something once, when the first image is done."""

    def __init__(self, other) -> None:
        self.other = other

    def end(self, result) -> None:  # noqa: ARG002
        other, self.other = self.other, lambda: None
        other()


def test_archives_that_others_replace_meanwhile_do_not_count(sources):
    raw = ArchiveOptions(codec="raw")
    other = Beside(lambda: build(sources / "a", sources / "out", options=raw))
    made = build(sources / "a", sources / "out", watcher=other)
    assert (made.converted + made.failed, made.remaining) == (2, 0)
    assert {one.code for one in made.failures} == {"OVERTAKEN"}
    assert "another process replaced the archive of this image" in made.failures[0].message
    again = build(sources / "a", sources / "out")
    assert (again.converted, again.failed) == (made.failed, 0)


def test_archives_that_others_remove_meanwhile_do_not_count(sources):
    build(sources / "a", sources / "out")
    first = next((sources / "out/subjects").iterdir())
    save(sources / "a/2.nii", 3)
    other = Beside(lambda: shutil.rmtree(first))
    made = build(sources / "a", sources / "out", watcher=other)
    assert (made.converted, made.present, made.failed) == (1, 1, 1)
    assert "another process removed the archive of this image" in made.failures[0].message
