"""Hidden folders that are used again: always locked, named after what is built, gone in the end."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from voxarray.storage import spare_folders
from voxarray.storage.folder_lock import Ownership, ownership
from voxarray.storage.hidden_folders import (
    hidden_folder,
    hidden_folders,
    names_of_hidden,
    remove_abandoned,
)
from voxarray.storage.spare_folders import folders_reused


def build(place: Path, name: str) -> int:
    """Build something in a hidden folder; the number of the folder on its file system."""
    with hidden_folder(str(place), name) as lock:
        assert names_of_hidden(str(place)) == {name}
        assert ownership(lock.folder) is Ownership.IN_USE
        assert lock.is_there
        archive = Path(lock.folder, "archive")
        archive.mkdir()
        archive.rmdir()
        return os.stat(lock.folder).st_ino


def test_one_folder_serves_many_names_and_goes_at_the_end(tmp_path):
    with folders_reused(str(tmp_path)):
        assert len({build(tmp_path, f"{number}.ome.zarr") for number in range(5)}) == 1
        (left,) = hidden_folders(str(tmp_path))
        assert ownership(str(tmp_path / left)) is Ownership.IN_USE
    assert list(tmp_path.iterdir()) == []


def test_it_stays_as_long_as_anybody_wants_it(tmp_path):
    with folders_reused(str(tmp_path)):
        with folders_reused(str(tmp_path)):
            first = build(tmp_path, "a")
        assert build(tmp_path, "b") == first
    assert list(tmp_path.iterdir()) == []
    assert not spare_folders._by_folder


def test_hidden_folders_outside_folders_reused_are_deleted(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with folders_reused(str(other)):
        build(tmp_path, "a")
        assert [one.name for one in tmp_path.iterdir()] == ["other"]


def test_what_is_left_in_a_folder_is_in_no_other_archive(tmp_path):
    with folders_reused(str(tmp_path)):
        with hidden_folder(str(tmp_path), "a") as lock:
            Path(lock.folder, "archive").mkdir()
        assert list(tmp_path.iterdir()) == []
        build(tmp_path, "b")  # which makes such a folder itself
        with suppress(ZeroDivisionError), hidden_folder(str(tmp_path), "c"):
            raise ZeroDivisionError
        assert list(tmp_path.iterdir()) == []


def test_a_spare_folder_that_was_removed_is_made_again(tmp_path):
    with folders_reused(str(tmp_path)):
        build(tmp_path, "a")
        (left,) = hidden_folders(str(tmp_path))
        (tmp_path / left).rename(tmp_path / "elsewhere")
        build(tmp_path, "b")


def test_each_thread_has_its_own(tmp_path):
    met = threading.Barrier(2)
    found = set()

    def work(name: str) -> None:
        for number in range(3):
            with hidden_folder(str(tmp_path), f"{name}-{number}") as lock:
                met.wait(10)
                found.add((number, os.stat(lock.folder).st_ino))
                met.wait(10)

    with folders_reused(str(tmp_path)):
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(found) == 6
        assert len({inode for _, inode in found}) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_child_of_a_fork_leaves_them_to_its_parent(tmp_path):
    with folders_reused(str(tmp_path)):
        first = build(tmp_path, "a")
        child = os.fork()
        if child == 0:
            with hidden_folder(str(tmp_path), "b") as lock:
                os._exit(int(os.stat(lock.folder).st_ino == first))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        remove_abandoned(str(tmp_path))  # the child's
        assert build(tmp_path, "c") == first
    assert list(tmp_path.iterdir()) == []


STEPS = ("mkdir", "open", "write", "rename", "unlink", "rmdir", "listdir")


def two(place: Path) -> None:
    with folders_reused(str(place)):
        for name in "ab":
            with hidden_folder(str(place), name):
                pass


@pytest.mark.parametrize("after", [False, True])
def test_who_is_killed_at_any_step_leaves_what_others_remove(tmp_path, after):
    for step in itertools.count():
        child = os.fork()
        if child == 0:
            counted = itertools.count()

            def call(original, *arguments, counted=counted, last=step, **options):
                is_last = next(counted) == last
                if is_last and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                done = original(*arguments, **options)
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return done

            for name in STEPS:
                setattr(os, name, partial(call, getattr(os, name)))
            two(tmp_path)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert len(os.listdir(tmp_path)) <= 1
        remove_abandoned(str(tmp_path))
        assert list(tmp_path.iterdir()) == []
        if not killed:
            assert step > 10
            return


@pytest.mark.parametrize("after", [False, True])
def test_ctrl_c_at_any_step_leaves_nothing_in_use(tmp_path, monkeypatch, after):
    for last in itertools.count():
        counted = itertools.count()

        def step(original, *arguments, counted=counted, last=last, **options):
            is_last = next(counted) == last
            if is_last and not after:
                raise KeyboardInterrupt
            done = original(*arguments, **options)
            if is_last:
                raise KeyboardInterrupt
            return done

        with monkeypatch.context() as patch:
            for name in STEPS:
                patch.setattr(os, name, partial(step, getattr(os, name)))
            interrupted = False
            try:
                two(tmp_path)
            except KeyboardInterrupt:
                interrupted = True
        # A folder whose new name nobody has heard of is left as one that nobody has.
        remove_abandoned(str(tmp_path))
        assert list(tmp_path.iterdir()) == []
        if not interrupted:
            assert last > 10
            return
