"""Manifests of a cohort are read by one thread, or by several where a disk is waited for."""

from __future__ import annotations

import threading
import time

import pytest
from cohort_samples import save

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
