"""New names in a folder are synced together, and before anybody leaves who might tell of them."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from voxarray.core.errors import ArchiveError
from voxarray.storage import synced_names
from voxarray.storage.synced_names import names_synced_together, sync_later


@pytest.fixture
def synced(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(synced_names, "sync", done.append)
    return done


def test_names_are_synced_once_at_the_end(synced):
    assert not sync_later("/a")
    with names_synced_together("/a"):
        assert sync_later("/a")
        assert sync_later("/a")
        assert not sync_later("/b")
        assert synced == []
    assert synced == ["/a"]
    assert not sync_later("/a")


def test_where_no_name_is_new_nothing_is_synced(synced):
    with names_synced_together("/a"):
        pass
    assert synced == []


def test_a_bucket_has_no_names_to_sync(synced):
    with names_synced_together("s3://bucket/cohort/subjects"):
        assert not sync_later("s3://bucket/cohort/subjects")
    assert synced == []


def test_leaving_an_inner_block_syncs_the_names_made_so_far(synced):
    with names_synced_together("/a"):
        with names_synced_together("/a"):
            sync_later("/a")
        assert synced == ["/a"]
        with names_synced_together("/a"):
            pass
        assert synced == ["/a"]
        sync_later("/a")
    assert synced == ["/a", "/a"]


def test_names_are_synced_also_after_a_failure(synced):
    def interrupted():
        with names_synced_together("/a"):
            sync_later("/a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert synced == ["/a"]


def test_nobody_leaves_while_another_syncs(monkeypatch):
    began, go, left = threading.Event(), threading.Event(), []

    def slow(_):
        began.set()
        assert go.wait(10)

    def first():
        with names_synced_together("/a"):
            sync_later("/a")
        left.append("first")

    monkeypatch.setattr(synced_names, "sync", slow)
    with names_synced_together("/a"):
        sync_later("/a")
        threads = [threading.Thread(target=first)]
        threads[0].start()
        assert began.wait(10)  # it syncs the name of this thread, too

        def second():
            with names_synced_together("/a"):
                pass
            left.append("second")

        threads.append(threading.Thread(target=second))
        threads[1].start()
        threads[1].join(0.2)
        assert left == []
        go.set()
        for thread in threads:
            thread.join()
    assert sorted(left) == ["first", "second"]


def test_every_writer_learns_that_the_disk_refused_to_sync(monkeypatch):
    calls = []

    def refuse(folder):  # a disk may say so only once
        calls.append(folder)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(synced_names, "sync", refuse)

    def work(others=lambda: None):
        with names_synced_together("/a"):
            sync_later("/a")
            others()

    def beside():
        with pytest.raises(ArchiveError) as inner:
            work()
        assert inner.value.code == "NOT_SYNCED"

    with pytest.raises(ArchiveError, match="have their final names") as outer:
        work(beside)
    assert (outer.value.code, outer.value.path) == ("NOT_SYNCED", "/a")
    work()  # the next time it may be mended
    assert len(calls) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_syncs_its_own_names(synced):
    with names_synced_together("/a"):
        child = os.fork()
        if child == 0:
            os._exit(sync_later("/a"))
        assert os.waitpid(child, 0)[1] == 0
