"""Journals in a bucket: records of several images share a request, and none is lost."""

from __future__ import annotations

import json
import threading
import time

import dask.config
import pytest

from voxarray.cohort.catalogue import journal as journals
from voxarray.cohort.catalogue.journal import ObjectJournal, lines
from voxarray.cohort.run.task import Result
from voxarray.core.errors import TransportError, VoxarrayError

WRITERS = 12


@pytest.fixture
def folder(bucket):
    return f"{bucket.url}/cohort/journal"


def record(number):
    return Result(f"sub-{number}", "converted", f"key {number}").record()


def slugs(folder):
    return [line["slug"] for line in lines(folder)]


class Held:
    """A put that waits until it is let go; others come meanwhile."""

    def __init__(self, server):
        self.server, self.began, self.go_on = server, threading.Event(), threading.Event()

    def __enter__(self):
        self.server.before = self.hold
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.server.before = lambda _: None

    def hold(self, request):
        if request.startswith("PUT") and not self.began.is_set():
            self.began.set()
            assert self.go_on.wait(60)


class Writer(threading.Thread):
    def __init__(self, journal, number):
        super().__init__(daemon=True)
        self.journal, self.number, self.error = journal, number, None
        self.start()

    def run(self):
        try:
            self.journal.append(record(self.number))
        except VoxarrayError as error:
            self.error = error


def wait_for_all(journal, count):
    limit = time.monotonic() + 60
    while journal._waiting < count:
        assert time.monotonic() < limit
        time.sleep(0.001)


def puts(server):
    return sum(path.startswith("PUT") for path in server.paths)


def test_records_that_come_during_a_put_share_the_next(server, folder):
    journal = ObjectJournal(folder)
    with Held(server) as held:
        first = Writer(journal, 0)
        assert held.began.wait(60)
        others = [Writer(journal, number) for number in range(1, WRITERS)]
        wait_for_all(journal, WRITERS)
        held.go_on.set()
        for writer in (first, *others):
            writer.join(60)
    assert puts(server) == 2
    assert sorted(slugs(folder)) == sorted(f"sub-{number}" for number in range(WRITERS))


def test_who_returns_has_its_record_in_the_bucket(server, bucket, folder):
    """Also of records that another writer puts."""
    journal, absent = ObjectJournal(folder), []
    server.delay = 0.003

    def write(start):
        for number in range(start, start + 10):
            journal.append(record(number))
            text = b"".join(bucket.server.objects.values())
            if f'"sub-{number}"'.encode() not in text:
                absent.append(number)

    writers = [threading.Thread(target=write, args=(100 * one,)) for one in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert absent == []
    assert len(slugs(folder)) == len(set(slugs(folder))) == 10 * WRITERS
    assert puts(server) < 10 * WRITERS


def test_own_lines_are_not_fetched_unless_they_have_changed(server, bucket, folder):
    journal = ObjectJournal.of(folder)
    journal.append(record(0))
    journal.close()
    journal.append(record(1))
    (name, _), server.paths[:] = bucket.listed("cohort/journal/"), []
    assert sorted(slugs(folder)) == ["sub-0", "sub-1"]
    assert not any(path.startswith("GET") and "jsonl" in path for path in server.paths)
    bucket.put(name, bucket.get(name).replace(b"sub-", b"other-"))
    bucket.put("cohort/journal/another.jsonl", bucket.get(name))
    assert sum(slug.startswith("other") for slug in slugs(folder)) == 2


def test_long_journals_lose_and_repeat_nothing(server, bucket, folder, monkeypatch):
    monkeypatch.setattr(journals, "_LONG", 2000)
    journal = ObjectJournal(folder)
    server.delay = 0.002

    def write(start):
        for number in range(start, start + 10):
            journal.note({"slug": f"sub-{number}", "status": "begun", "key": "k"})
            journal.append(record(number))

    writers = [threading.Thread(target=write, args=(100 * one,)) for one in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert len(bucket.listed("cohort/journal/")) > 5
    told = [(line["slug"], line["status"]) for line in lines(folder)]
    assert len(told) == len(set(told)) == 2 * 10 * WRITERS


def test_a_put_that_fails_is_told_to_all_whose_records_it_held(server, folder):
    journal = ObjectJournal(folder)
    with dask.config.set({"voxarray.remote-attempts": 2}):
        with Held(server) as held:
            first = Writer(journal, 0)
            assert held.began.wait(60)
            server.refuses = lambda request: (503, b"") if request.startswith("PUT") else None
            others = [Writer(journal, number) for number in range(1, WRITERS)]
            wait_for_all(journal, WRITERS)
            held.go_on.set()
            for writer in (first, *others):
                writer.join(60)
        assert all(isinstance(writer.error, TransportError) for writer in (first, *others))
        assert puts(server) == 2 * 2  # not once more for each of the records
        server.refuses = lambda _: None
        assert slugs(folder) == []
        journal.append(record(WRITERS))
    # What was not written is told by the next put, once each.
    assert sorted(slugs(folder)) == sorted(f"sub-{number}" for number in range(WRITERS + 1))


def test_a_writer_that_is_stopped_leaves_the_record_to_the_others(server, folder, monkeypatch):
    journal, put = ObjectJournal(folder), journals.WritableObjects.put
    calls = []

    def stopped_at_first(self, key, data):
        calls.append(key)
        if len(calls) == 1:
            wait_for_all(journal, 2)
            raise KeyboardInterrupt
        put(self, key, data)

    monkeypatch.setattr(journals.WritableObjects, "put", stopped_at_first)
    stopped = []

    def write():
        try:
            journal.append(record(0))
        except KeyboardInterrupt:
            stopped.append(True)

    first = threading.Thread(target=write)
    first.start()
    other = Writer(journal, 1)
    first.join(60)
    other.join(60)
    assert (stopped, other.error) == ([True], None)
    assert sorted(slugs(folder)) == ["sub-0", "sub-1"]


def test_records_that_wait_when_the_journal_is_closed_are_put(server, bucket, folder):
    journal = ObjectJournal(folder)
    with Held(server) as held:
        first = Writer(journal, 0)
        assert held.began.wait(60)
        other = Writer(journal, 1)
        wait_for_all(journal, 2)
        closing = threading.Thread(target=journal.close)
        closing.start()
        held.go_on.set()
        for thread in (first, other, closing):
            thread.join(60)
    journal.append(record(2))
    told = [json.loads(line) for key in bucket.listed() for line in bucket.get(key).splitlines()]
    assert sorted(line["slug"] for line in told) == ["sub-0", "sub-1", "sub-2"]
    assert len(bucket.listed()) >= 2
