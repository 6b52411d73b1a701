"""Manifests of a cohort are read by one thread, or by several where a disk is waited for."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cohort_samples import save

from voxarray.archive.manifest import Manifest
from voxarray.cohort.catalogue import entry as entry_module
from voxarray.cohort.catalogue import manifest_entries
from voxarray.cohort.catalogue.entry import entry_of
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.run.build import build


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_threads_read_entries_where_a_disk_is_waited_for(tmp_path, monkeypatch, seconds):
    for number in range(6):
        save(tmp_path / f"in/{number}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "out")
    names = set()

    def read(path):
        names.add(threading.current_thread().name)
        time.sleep(seconds)
        return entry_of(path)

    archives = [*CohortLayout.of(tmp_path / "out").archives(), str(tmp_path / "none.ome.zarr")]
    monkeypatch.setattr(manifest_entries, "entry_of", read)
    monkeypatch.setattr(manifest_entries, "_AT_A_TIME", 2)
    clock = time.thread_time if not seconds else time.perf_counter  # a crowded machine is no disk
    monkeypatch.setattr(manifest_entries.time, "perf_counter", clock)
    found = manifest_entries.entries_at(archives)
    assert [*found] == [path.rpartition("/")[2] for path in archives]
    assert [*found.values()] == [entry_of(path) for path in archives]
    assert found["none.ome.zarr"] is None
    assert any(name.startswith("voxarray-catalogue") for name in names) == bool(seconds)


def test_no_archives_have_no_entries():
    assert manifest_entries.entries_at([]) == {}


def slowly(path):
    """The entry of an archive by way of its store, as of one in a zip file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry_module, "FOLDER_SUFFIX", ".none")
        return entry_of(path)


@pytest.fixture
def mixed(tmp_path):
    """Archives of scans with plain names, with letters beyond ASCII, and with bytes that are no
    text."""
    for number, name in enumerate(["plain", "größe", os.fsdecode(b"\xff\xfe")]):
        save(tmp_path / "in" / f"{name}.nii.gz", number)
    build(tmp_path / "in", tmp_path / "out")
    return sorted(map(str, CohortLayout.of(tmp_path / "out").archives()))


def test_an_entry_is_that_of_the_store(mixed):
    found = [entry_of(path) for path in mixed]
    assert None not in found
    assert found == [slowly(path) for path in mixed]


@pytest.mark.parametrize("change", ["byte", "cut", "gone", "link", "folder", "exchanged", "file"])
def test_a_manifest_that_was_changed_is_seen(mixed, tmp_path, change):
    first, second = (Path(path, "manifest.json") for path in mixed[:2])
    before, raw = entry_of(mixed[0]), first.read_bytes()
    if change == "exchanged":  # whole, and of another image
        first.write_bytes(second.read_bytes())
        assert entry_of(mixed[0]) == entry_of(mixed[1]) != before
        return
    if change == "byte":
        first.write_bytes(raw.replace(b'"kind":"intensity"', b'"kind":"intensitx"'))
    elif change == "cut":
        first.write_bytes(raw[:-1])
    elif change == "file":
        shutil.rmtree(first.parent)
        first.parent.write_bytes(raw)
    else:
        first.unlink()
    if change == "link":
        (tmp_path / "elsewhere.json").write_bytes(raw)
        first.symlink_to(tmp_path / "elsewhere.json")
    if change == "folder":
        first.mkdir()
    assert entry_of(mixed[0]) is None
    assert entry_of(mixed[0]) == slowly(mixed[0])


@pytest.mark.parametrize(
    ("facts", "are_right"),
    [
        ({}, True),
        ({"subject": "\ud800"}, False),
        ({"subject": "\udcff"}, True),
        ({"subject": 1}, False),
        ({"labels": [True]}, False),
        ({"labels": ["\ud800"]}, False),
        ({"shape": [1, 2, 3, True]}, False),
        ({"shape": [1, 2, 3, 2**63]}, False),
        ({"shape": [1, 2, 3]}, False),
        ({"spacing": [1, 2.5, False]}, False),
        ({"spacing": [1, 2, 10**400]}, False),
        ({"dtype": "none"}, False),
        ({"facts": {"note": "\ud800"}}, False),
        ({"facts": {"note": "größe", "number": 1.5, "flag": True}}, True),
    ],
)
def test_facts_of_others_are_judged_alike(mixed, facts, are_right):
    path = Path(mixed[0], "manifest.json")
    manifest = Manifest.parse(path.read_bytes(), mixed[0])
    changed = {**manifest.source, "cohort": {**manifest.source["cohort"], **facts}}
    path.write_bytes(replace(manifest, source=changed).to_bytes())
    assert (entry_of(mixed[0]) is not None) == are_right
    assert entry_of(mixed[0]) == slowly(mixed[0])
