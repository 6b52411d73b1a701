"""What others add in the moment in which an archive takes the place of another is not lost."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from archive_samples import OBLIQUE, archive, blobs
from layer_samples import SHAPE, everything, labels

import voxarray as vx
from voxarray.archive import generations, layers, publication, replacement, staging
from voxarray.archive.convert import convert
from voxarray.archive.generations import REPLACED
from voxarray.archive.manifest import KEY
from voxarray.archive.options import Options
from voxarray.archive.verify import verify
from voxarray.cohort.run.lost_additions import refuse_to_lose
from voxarray.source.array import ArraySource

NEW = blobs(SHAPE, "i2", 9)


@pytest.fixture
def path(tmp_path):
    return archive(tmp_path / "a.ome.zarr", blobs(SHAPE))


def replace(path, confirm=None):
    options = Options(overwrite=True)
    convert(ArraySource(NEW, OBLIQUE), str(path), options=options, confirm=confirm)


def save_image(path):
    vx.ScalarImage(tensor=NEW, affine=OBLIQUE).save(path, overwrite=True)


def save_subject(path):
    scan = vx.ScalarImage(tensor=NEW, affine=OBLIQUE)
    subject = vx.Subject({path.name.removesuffix(".ome.zarr"): scan, "b": scan})
    subject.save(path.parent, ".ome.zarr", overwrite=True)


def convert_again(path):
    vx.ScalarImage(tensor=NEW, affine=OBLIQUE).save(path.parent / "new.nii")
    vx.convert(path.parent / "new.nii", path, overwrite=True)


def call_once_before(monkeypatch, module, name, call):
    """Let something happen before the next call of a function."""
    function, due = getattr(module, name), [call]

    def late(*args, **kwargs):
        if due:
            due.pop()()
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, late)


@pytest.mark.parametrize("write", [save_image, save_subject, convert_again])
@pytest.mark.parametrize("what", ["the label map 'tumour'", "the note 'quality'"])
def test_what_came_while_the_new_archive_was_made_stays(path, monkeypatch, write, what):
    def add():
        if "label" in what:
            vx.Archive(path).add_labels("tumour", labels())
        else:
            vx.Archive(path).add_notes(quality="good")

    call_once_before(monkeypatch, publication, "publish", add)
    with pytest.raises(vx.VoxarrayError, match=f"CONTENT_ADDED.*{what}"):
        write(path)
    assert vx.Archive(path).generation == 1
    assert np.array_equal(vx.ScalarImage(path).numpy(), blobs(SHAPE))
    assert verify(path) == []
    assert not list(path.parent.glob(".*"))
    write(path)  # by somebody who knows
    assert np.array_equal(vx.ScalarImage(path).numpy(), NEW)
    assert vx.Archive(path).generation == 0


def test_what_was_removed_holds_nothing_up(path, monkeypatch):
    vx.Archive(path).add_labels("tumour", labels())
    remove = partial(vx.Archive(path).remove_labels, "tumour")
    call_once_before(monkeypatch, publication, "publish", remove)
    save_image(path)
    assert np.array_equal(vx.ScalarImage(path).numpy(), NEW)


def test_labels_added_while_the_archive_is_replaced_are_refused(path, monkeypatch):
    """The label map was drawn on the old image: the new one must not get it."""
    said = []

    def add():
        try:
            vx.Archive(path).add_labels("tumour", labels())
        except vx.VoxarrayError as error:
            said.append(error.code)

    others = threading.Thread(target=add)
    has_read, waits = threading.Event(), threading.Event()
    publish = generations.swap_lock

    def waiting(*args):
        has_read.set()
        waits.wait(20)
        return publish(*args)

    monkeypatch.setattr(generations, "swap_lock", waiting)

    def begin():
        others.start()
        has_read.wait(20)  # it has looked at the old archive, and will change what is at the path
        waits.set()

    call_once_before(monkeypatch, staging, "_renameat2", begin)
    replace(path)
    others.join()
    assert said == ["SOURCE_CHANGED"]
    assert np.array_equal(vx.ScalarImage(path).numpy(), NEW)
    assert list(vx.Archive(path).labels) == []
    assert verify(path) == []


@pytest.mark.parametrize("change", ["note", "remove", "forget"])
def test_what_was_meant_for_the_old_archive_changes_no_other(path, monkeypatch, change):
    """Though the new one has a label map and a note of these names, too."""
    new = archive(path.parent / "new.ome.zarr", NEW)
    for one in (path, new):
        vx.Archive(one).add_labels("tumour", labels())
        vx.Archive(one).add_notes(quality="good")
    before = everything(new)

    def exchange_both():
        path.rename(path.parent / "old.ome.zarr")
        new.rename(path)

    changes = {
        "note": partial(vx.Archive(path).add_notes, reader="me"),
        "remove": partial(vx.Archive(path).remove_labels, "tumour"),
        "forget": partial(vx.Archive(path).remove_notes, "quality"),
    }
    call_once_before(monkeypatch, layers, "publish_change", exchange_both)
    with pytest.raises(vx.SourceChangedError, match="during this change"):
        changes[change]()
    assert everything(path) == before


class _no_lock:
    def __init__(self, _path: str) -> None: ...
    def __enter__(self) -> bool:
        return False

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def without_locks(monkeypatch):
    for module in (replacement, generations):
        monkeypatch.setattr(module, "swap_lock", _no_lock)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_what_came_at_last_is_put_back(path, monkeypatch):
    add = partial(vx.Archive(path).add_labels, "tumour", labels())
    call_once_before(monkeypatch, staging, "_renameat2", add)
    with pytest.raises(vx.VoxarrayError, match=r"CONTENT_ADDED.*a\.ome\.zarr when a new archive"):
        replace(path)
    assert list(vx.Archive(path).labels) == ["tumour"]
    assert np.array_equal(vx.ScalarImage(path).numpy(), blobs(SHAPE))
    assert verify(path) == []
    assert not list(path.parent.glob(".*"))


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_pending_addition_stops_a_replacement(path):
    vx.Archive(path).add_notes(first=1)
    (path / REPLACED / "1.json").hardlink_to(path / KEY)  # as another machine does first
    before = everything(path)
    with pytest.raises(vx.VoxarrayError, match="CONTENT_ADDED"):
        replace(path)
    assert everything(path) == before


@pytest.mark.usefixtures("without_locks")
def test_without_locks_nothing_is_taken_from_the_next_archive(path, monkeypatch):
    """What was removed goes after the change took effect: by then, another archive may be there."""
    new = archive(path.parent / "new.ome.zarr", NEW)
    for one in (path, new):
        vx.Archive(one).add_labels("tumour", labels())
    before = everything(new)

    def exchange_both():
        path.rename(path.parent / "old.ome.zarr")
        new.rename(path)

    call_once_before(monkeypatch, generations, "_tidy", exchange_both)
    vx.Archive(path).remove_labels("tumour")
    assert everything(path) == before


def test_replacing_and_adding_labels_at_once_loses_nothing(path, tmp_path):
    """Both succeed only where the label map is that of the archive that is there in the end."""
    outcomes = set()
    for number in range(25):
        where = archive(tmp_path / f"{number}.ome.zarr", blobs(SHAPE))
        start, done = threading.Barrier(2), {}

        def attempt(name, call, start=start, done=done):
            start.wait()
            try:
                call()
                done[name] = "done"
            except vx.VoxarrayError as error:
                done[name] = error.code

        calls = {
            "replace": partial(replace, where, partial(refuse_to_lose, str(where))),
            "add": partial(vx.Archive(where).add_notes, quality="good"),
        }
        threads = [threading.Thread(target=attempt, args=one) for one in calls.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outcome = done["replace"], done["add"]
        assert outcome in {
            ("done", "done"),
            ("done", "SOURCE_CHANGED"),
            ("CONTENT_ADDED", "done"),
        }
        assert vx.Archive(where).notes == ({"quality": "good"} if outcome[1] == "done" else {})
        assert verify(where) == []
        outcomes.add(outcome)
    assert outcomes
