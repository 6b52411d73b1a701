"""Writers of layers that die, meet each other, or meet what others have put there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archive_samples import OBLIQUE, archive, blobs
from layer_samples import SHAPE, base_of, codes, everything, labels

import voxarray as vx
from voxarray.archive import generations
from voxarray.archive.cleaning import clean
from voxarray.archive.generations import REPLACED, publish_change
from voxarray.archive.layer_changes import Change
from voxarray.archive.manifest import KEY
from voxarray.archive.staging import workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return archive(tmp_path_factory.mktemp("made") / "a.ome.zarr", blobs(SHAPE), chunk=8)


@pytest.fixture
def path(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.ome.zarr"))


# --- Interrupted ----------------------------------------------------------------------------------

STEPS = ("mkdir", "link", "replace", "rename", "unlink", "rmdir")


@pytest.mark.parametrize("change", ["add", "remove"])
def test_whatever_step_a_writer_dies_at_the_archive_is_old_or_new(path, change, monkeypatch):
    opened = vx.Archive(path)
    opened.add_labels("first", labels())
    base, copies = base_of(path), path.with_name("copies")
    copies.mkdir()
    _copy_before_each_step(monkeypatch, str(path), copies)
    if change == "add":
        opened.add_labels("second", labels(2))
    else:
        opened.remove_labels("first")
    monkeypatch.undo()
    outcomes = set()
    for number, copy in enumerate(sorted(copies.iterdir())):
        state = copy / path.name
        names = tuple(vx.Archive(state).labels)
        outcomes.add(names)
        assert base_of(state) == base
        for name in names:
            vx.Archive(state).labels[name].numpy()
        problems = codes(state)
        assert {code for code, _ in problems} <= {"INTERRUPTED"}, problems
        if number % 2:
            left = clean(copy)
            assert bool(left) == bool(problems)
            assert {one.outcome for one in left} <= {"removed"}
        else:
            vx.Archive(state).add_notes(next=1)
        assert codes(state) == []
    after = ("first", "second") if change == "add" else ()
    assert outcomes == {("first",), after}
    assert number > 8


def _copy_before_each_step(monkeypatch, root: str, copies: Path) -> None:
    """Copies the archive as a writer would leave it that died right there."""
    busy = False

    def watch(step: str) -> None:
        whole = getattr(os, step)

        def watched(*arguments, **words):
            nonlocal busy
            if not busy and any(str(one).startswith(root) for one in arguments):
                busy = True
                place = copies / f"{len(list(copies.iterdir())):03}-{step}"
                shutil.copytree(root, place / Path(root).name, copy_function=shutil.copy)
                busy = False
            return whole(*arguments, **words)

        monkeypatch.setattr(os, step, watched)

    for step in STEPS:
        watch(step)


def test_what_others_put_beside_label_maps_is_not_deleted(path):
    opened = vx.Archive(path)
    opened.add_labels("ours", labels())
    foreign = path / "labels/theirs"
    foreign.mkdir()
    (foreign / "zarr.json").write_text("{}")
    assert ("EXTRA_FILE", "labels/theirs/zarr.json") in codes(path)
    for attempt in (
        lambda: opened.add_labels("b", labels(2)),
        lambda: opened.remove_labels("ours"),
    ):
        with pytest.raises(vx.ArchiveError, match="FOREIGN_FILES"):
            attempt()
    clean(path.parent)
    assert (foreign / "zarr.json").exists()
    shutil.rmtree(foreign)
    opened.add_labels("b", labels(2))
    (path / "labels/zarr.json").write_text('{"mine": true}')
    with pytest.raises(vx.ArchiveError, match="FOREIGN_FILES"):
        opened.add_labels("c", labels(2))


def test_damage_of_the_history_is_named(path):
    opened = vx.Archive(path)
    for number in range(3):
        opened.add_notes(**{f"n{number}": number})
    whole = everything(path)
    first = path / REPLACED / "1.json"
    first.write_bytes(whole[f"{REPLACED}/1.json"].replace(b'"n0":0', b'"n0":1'))
    assert codes(path) == [("BAD_CHECKSUM", f"{REPLACED}/1.json")]
    first.write_bytes(whole[f"{REPLACED}/2.json"])
    assert codes(path) == [("CONTRADICTION", f"{REPLACED}/1.json")]
    first.write_bytes(whole[f"{REPLACED}/1.json"])
    (path / REPLACED / "0.json").unlink()
    assert codes(path) == [("MISSING_DATA", f"{REPLACED}/0.json")]
    (path / REPLACED / "mine.txt").write_text("")
    assert ("EXTRA_FILE", f"{REPLACED}/mine.txt") in codes(path, quick=True)


def test_without_locks_only_one_of_two_writers_gets_on(path, monkeypatch):
    from voxarray.storage import swap_lock

    monkeypatch.setattr(swap_lock, "locks_are_seen_by_all", lambda _: False)
    opened = vx.Archive(path)
    opened.add_labels("a", labels())
    opened.remove_labels("a")
    assert codes(path) == []
    assert not (path / "labels").exists()
    os.link(path / KEY, path / REPLACED / "2.json")  # another machine is at it, or died
    before = everything(path)
    with pytest.raises(vx.ArchiveError, match="INTERRUPTED"):
        opened.add_labels("b", labels())
    assert everything(path) == before
    assert [one.outcome for one in clean(path.parent)] == ["left"]
    monkeypatch.undo()
    opened.add_labels("b", labels())
    assert codes(path) == []


def test_a_lost_race_is_run_again(path, monkeypatch):
    """Where locks lie, another writer may publish between reading the manifest and claiming it."""
    claim, done = generations._claim, []

    def late(root, now, undo):
        if not done:
            done.append(1)
            with workspace(str(path)) as area:
                publish_change(str(path), Change(notes={"quick": 1}), area.root)
        return claim(root, now, undo)

    monkeypatch.setattr(generations, "_claim", late)
    monkeypatch.setattr(generations, "swap_lock", _no_lock)
    vx.Archive(path).add_notes(slow=2)
    assert vx.Archive(path).notes == {"quick": 1, "slow": 2}
    assert vx.Archive(path).generation == 2


class _no_lock:
    def __init__(self, _path: str) -> None: ...
    def __enter__(self) -> bool:
        return False

    def __exit__(self, *_: object) -> None: ...


# --- Many writers, and kills ----------------------------------------------------------------------

WRITER = """
import sys, numpy as np
from voxarray.archive.layers import add_layer
from voxarray.archive.options import LabelLayer
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
affine = np.load(sys.argv[4])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + count):
    values = np.full((1, 12, 9, 30), number % 250 + 1, "u1")
    add_layer(path, f"layer-{number}", LabelLayer(ArraySource(values, affine)))
    print(number, flush=True)
"""


def writers(path: Path, count: int, each: int, first: int = 0) -> list[subprocess.Popen]:
    np.save(path.parent / "affine.npy", OBLIQUE)
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", WRITER, str(path), str(first + number * each), str(each)),
                str(path.parent / "affine.npy"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def require_all(path: Path, numbers: range) -> None:
    found = vx.Archive(path).labels
    assert set(found) == {f"layer-{number}" for number in numbers}
    for number in numbers:
        assert set(np.unique(found[f"layer-{number}"].numpy())) == {number % 250 + 1}


@pytest.mark.parametrize(("count", "each"), [(3, 4), pytest.param(8, 25, marks=pytest.mark.slow)])
def test_writers_at_once_lose_nothing(path, count, each):
    before = base_of(path)
    for process in writers(path, count, each):
        process.communicate()
        assert process.returncode == 0
    assert vx.Archive(path).generation == count * each
    require_all(path, range(count * each))
    assert base_of(path) == before
    assert codes(path) == []


KILLER = """
import os, signal, sys, time, numpy as np
from voxarray.archive.layers import add_layer
from voxarray.archive.options import LabelLayer
from voxarray.source.array import ArraySource
path, affine = sys.argv[1], np.load(sys.argv[2])
for number in range(2):
    began = time.perf_counter()
    values = np.full((1, 12, 9, 30), number + 1, "u1")
    add_layer(path, f"layer-{number}", LabelLayer(ArraySource(values, affine)))
    usual = time.perf_counter() - began
print("ready", flush=True)
for line in sys.stdin:
    first, seconds = line.split()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        for number in range(int(first), int(first) + 10_000):
            values = np.full((1, 12, 9, 30), number % 250 + 1, "u1")
            add_layer(path, f"layer-{number}", LabelLayer(ArraySource(values, affine)))
            os.write(into, f"{number} ".encode())
    os.close(into)
    time.sleep(float(seconds) * usual)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(out) as told:
        print(told.read(), flush=True)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_kills_leave_the_old_or_the_new(path, kills):
    before, rng, identity = base_of(path), np.random.default_rng(kills), vx.Archive(path).identity
    np.save(path.parent / "affine.npy", OBLIQUE)
    command = [sys.executable, "-c", KILLER, str(path), str(path.parent / "affine.npy")]
    done, number, interrupted = {0, 1}, 2, 0
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killer:
        assert killer.stdout.readline() == "ready\n"
        for _ in range(kills):
            killer.stdin.write(f"{number} {rng.uniform(0, 3)}\n")
            killer.stdin.flush()
            done |= set(map(int, killer.stdout.readline().split()))
            there = {int(name.split("-")[1]) for name in vx.Archive(path).labels}
            assert done <= there
            assert len(there - done) <= 1  # killed before it could say so
            problems = codes(path)
            assert {code for code, _ in problems} <= {"INTERRUPTED"}, problems
            interrupted += bool(problems)
            number = max(there, default=-1) + 1
            if len(there) > 12:
                for one in sorted(there)[:10]:
                    vx.Archive(path).remove_labels(f"layer-{one}")
                there -= set(sorted(there)[:10])
            done = there
            assert vx.Archive(path).identity == identity
        killer.stdin.close()
    clean(path.parent)
    assert codes(path) == []
    assert base_of(path) == before
    print(f"{kills} kills, {number} layers, {interrupted} in the middle of publishing")
