"""A process that is killed while it saves a subject over another: what is there, what mends it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import voxarray as vx
from voxarray.core.errors import StateError

NAMES = ("t1", "t2", "seg")

SCRIPT = (
    f"NAMES = {NAMES!r}"
    + """
import os, signal, sys
import numpy as np
import voxarray as vx
from voxarray.archive import staging

folder, suffix, point, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
subject = vx.Subject({
    name: vx.ScalarImage(tensor=np.full((1, 12, 10, 8), seed, np.int16)) for name in NAMES
})
rename, steps = staging._renameat2, iter(range(100))

def die():
    if next(steps) == point:
        os.kill(os.getpid(), signal.SIGKILL)

def killed(*args):
    die()
    rename(*args)
    die()

staging._renameat2 = killed
subject.save(folder, suffix, overwrite=True)
"""
)


def save(folder, suffix, point=-1, seed=1):
    command = [sys.executable, "-c", SCRIPT, folder, suffix, str(point), str(seed)]
    return subprocess.run([str(one) for one in command], check=False).returncode


def opened(folder, suffix):
    return vx.Subject({name: vx.ScalarImage(folder / f"{name}{suffix}") for name in NAMES})


def seeds(subject):
    return [int(image.numpy().mean()) for image in subject.get_images()]


# Before the first exchange, after it, before the second, and after the last one.
@pytest.mark.parametrize(
    ("suffix", "point"), [(".ome.zarr", 0), (".ome.zarr", 1), (".ozx", 2), (".ome.zarr", 5)]
)
def test_it_is_the_old_subject_or_the_new_one_or_named_and_saving_mends_it(tmp_path, suffix, point):
    folder = tmp_path / "sub"
    assert save(folder, suffix) == 0
    assert save(folder, suffix, point, seed=2) == -9
    exchanged = (point + 1) // 2
    # No image is lost or half there, and each can be opened by itself.
    each = [int(vx.ScalarImage(folder / f"{name}{suffix}").numpy().mean()) for name in NAMES]
    assert each == [2] * exchanged + [1] * (3 - exchanged)
    if 0 < exchanged < 3:
        with pytest.raises(StateError) as caught:
            opened(folder, suffix).load()
        assert caught.value.code == "SAVED_APART"
        assert f"{NAMES[0]}{suffix}" in str(caught.value)
        assert "Save the subject again (overwrite=True)" in str(caught.value)
        assert "SAVED_APART" in {one.code for one in vx.verify(folder)}
    else:
        assert seeds(opened(folder, suffix)) == each
    # Nothing has to be cleaned up by hand.
    assert save(folder, suffix, seed=3) == 0
    assert seeds(opened(folder, suffix)) == [3, 3, 3]
    assert vx.verify(folder) == []
    assert sorted(one.name for one in folder.iterdir()) == sorted(f"{n}{suffix}" for n in NAMES)
