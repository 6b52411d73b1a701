"""Two writers of one image in a bucket, one of which deletes what it has put as the other ends."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.bucket_staging import BucketStaging
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.verify import LEFTOVERS, examine, verify
from voxarray.core.errors import FormatError
from voxarray.source.array import ArraySource
from voxarray.storage.remote import objects
from voxarray.storage.remote.writing import WritableObjects

VOXELS = np.random.default_rng(0).integers(1, 900, (1, 24, 20, 28)).astype("i2")
BAD = "bad"


def write(url):
    convert(ArraySource(VOXELS, np.eye(4)), url, options=Options(levels=1, chunk=8))


class Fails(threading.Thread):
    """A writer whose source turns out to be bad when all of its objects but the last are there."""

    def __init__(self, url):
        super().__init__(name=BAD)
        self.url = url

    def run(self):
        with pytest.raises(FormatError):
            write(self.url)


@pytest.fixture
def moments(monkeypatch):
    """What is done in the writer that fails and in the other, at their most delicate moments."""
    at = {}
    publish, delete = BucketStaging.publish, WritableObjects.delete
    require = BucketStaging._require_all

    def publish_or_fail(self, source):
        if threading.current_thread().name != BAD:
            return publish(self, source)
        held = self._held.take()
        for key in [key for key in self.files if key != "zarr.json"]:
            self._begin(key, held.get(key))
        for future in self._pending:
            future.result()
        at["all but the last are there"]()
        raise FormatError("the last byte is wrong", code="TRUNCATED")

    def delete_after(self, keys):
        if threading.current_thread().name == BAD:
            at.get("about to delete", lambda: None)()
        delete(self, keys)

    def require_before(self, files):
        if threading.current_thread().name != BAD:
            at.get("about to look", lambda: None)()
        require(self, files)
        if threading.current_thread().name != BAD:
            at.get("has looked", lambda: None)()

    monkeypatch.setattr(BucketStaging, "publish", publish_or_fail)
    monkeypatch.setattr(WritableObjects, "delete", delete_after)
    monkeypatch.setattr(BucketStaging, "_require_all", require_before)
    return at


@pytest.mark.parametrize("moment", ["about to look", "has looked"])
def test_who_counts_on_objects_of_another_has_them_all(bucket, moments, moment):
    url = f"{bucket.url}/a.ome.zarr"
    there, go_on = threading.Event(), threading.Event()
    moments["all but the last are there"] = lambda: (there.set(), go_on.wait(60))
    failing = Fails(url)

    def fail():
        go_on.set()
        failing.join(60)

    moments[moment] = fail
    failing.start()
    assert there.wait(60)
    write(url)
    check(url)


def test_who_comes_when_objects_are_about_to_go_copies_them(bucket, moments):
    url = f"{bucket.url}/a.ome.zarr"
    deleting, looked = threading.Event(), threading.Event()
    moments["all but the last are there"] = lambda: None
    moments["about to delete"] = lambda: (deleting.set(), looked.wait(60))
    failing = Fails(url)

    def delete_now():
        looked.set()
        failing.join(60)

    moments["has looked"] = delete_now
    failing.start()
    assert deleting.wait(60)
    write(url)
    failing.join(60)
    check(url)


def check(url):
    objects.forget()
    np.testing.assert_array_equal(vx.ScalarImage(url).numpy(), VOXELS)
    assert verify(url) == []
    assert not [one for one in examine(url).notes if LEFTOVERS in one]
