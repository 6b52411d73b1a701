"""Subjects in a bucket that several save at once: never a silent mix."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import voxarray as vx
from voxarray import saving
from voxarray.core.errors import ArchiveError, StateError
from voxarray.storage.remote import objects

AFFINE = np.diag([1.5, 1, 2, 1])


def subject_of(seed, names=("t1", "seg")):
    images = {
        name: vx.ScalarImage(tensor=np.full((1, 12, 10, 8), seed, np.int16), affine=AFFINE)
        for name in names
    }
    return vx.Subject(images)


def opened(url, suffix=".ome.zarr"):
    objects.forget()
    return vx.Subject({name: vx.ScalarImage(f"{url}/{name}{suffix}") for name in ("t1", "seg")})


def seeds_in(url, suffix=".ome.zarr"):
    objects.forget()
    names = ("t1", "seg")
    return [int(vx.ScalarImage(f"{url}/{name}{suffix}").numpy().mean()) for name in names]


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx", ".nii.gz"])
def test_an_overtaken_save_raises_and_a_mixed_subject_is_refused(bucket, monkeypatch, suffix):
    url, original, done = f"{bucket.url}/sub", saving.save, []
    subject_of(0).save(url, suffix)

    def save(source, path, **options):
        if path.endswith(f"seg{suffix}") and not done:
            done.append(path)
            subject_of(2).save(url, suffix, overwrite=True)
        original(source, path, **options)

    monkeypatch.setattr(saving, "save", save)
    with pytest.raises(ArchiveError, match="somebody else has replaced or deleted") as caught:
        subject_of(1).save(url, suffix, overwrite=True)
    assert caught.value.code == "OVERTAKEN"
    assert seeds_in(url, suffix) == [2, 1]
    if suffix != ".nii.gz":
        with pytest.raises(StateError, match="come from two different calls"):
            opened(url, suffix).load()
        (problem,) = vx.verify(url)
        assert problem.code == "SAVED_APART"
    subject_of(3).save(url, suffix, overwrite=True)
    opened(url, suffix).load()
    assert seeds_in(url, suffix) == [3, 3]


def test_writers_at_once_leave_one_subject_or_an_error(bucket):
    url = f"{bucket.url}/sub"
    subject_of(9).save(url)
    for _ in range(3):
        start, errors = threading.Barrier(6), list[vx.VoxarrayError]()

        def write(number, start=start, errors=errors):
            start.wait()
            try:
                subject_of(number).save(url, overwrite=True)
            except vx.VoxarrayError as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(set(seeds_in(url))) == 1:
            opened(url).load()
        else:
            assert errors
            with pytest.raises(StateError):
                opened(url).load()
