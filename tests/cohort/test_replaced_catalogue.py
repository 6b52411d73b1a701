"""Whoever makes a catalogue holds its lock while writing it, not while reading what it is of."""

from __future__ import annotations

import fcntl
import os

import pytest
from cohort_samples import make_cohort

import voxarray as vx
from voxarray.cohort.catalogue import finalise as module
from voxarray.cohort.catalogue import manifest_entries, rows
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.catalogue.refresh import refresh

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def cohort(tmp_path):
    make_cohort(tmp_path / "in", 3, 0)
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    return tmp_path / "out"


def is_free(path):
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.fixture
def watched(cohort, monkeypatch):
    """Whether the lock was free at each step, and what to do while archives are read."""
    seen, meanwhile = [], []

    def noted(name, function):
        def call(*args):
            seen.append((name, is_free(cohort / "catalogue.parquet")))
            found = function(*args)
            if name == "archives" and meanwhile:
                meanwhile.pop(0)()
            return found

        return call

    monkeypatch.setattr(
        manifest_entries, "entries_at", noted("archives", manifest_entries.entries_at)
    )
    monkeypatch.setattr(module, "last_failures", noted("journals", module.last_failures))
    monkeypatch.setattr(rows, "write", noted("write", rows.write))
    return seen, meanwhile


def replaced(cohort):
    """As others do who finalise."""
    other = cohort / "other.parquet"
    other.write_bytes((cohort / "catalogue.parquet").read_bytes())
    other.replace(cohort / "catalogue.parquet")


def test_archives_and_journals_are_read_without_the_lock(cohort, watched):
    finalise(cohort)
    assert watched[0] == [("archives", True), ("journals", True), ("write", False)]


def test_archives_with_new_labels_are_read_without_the_lock(cohort, watched):
    refresh(map(str, (cohort / "subjects").iterdir()))
    assert watched[0] == [("archives", True), ("write", False)]


@pytest.mark.parametrize(("times", "alone"), [(1, False), (2, False), (3, True)])
def test_who_was_overtaken_reads_again_and_in_the_end_alone(cohort, watched, times, alone):
    seen, meanwhile = watched
    meanwhile += [lambda: replaced(cohort)] * times
    finalise(cohort)
    read = [free for name, free in seen if name == "archives"]
    assert read == [True] * times + [not alone]
    assert [free for name, free in seen if name == "write"] == [False]
