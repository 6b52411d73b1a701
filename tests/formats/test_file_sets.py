"""Images in several files: all are guarded, counted in the fingerprint, and found once."""

from __future__ import annotations

import os

import numpy as np
import pytest

import voxarray as vx
from voxarray.cohort.discover.files import images
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.core.errors import SourceChangedError
from voxarray.formats.file_sets import files_of
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection


def pair(folder, suffix):
    """An image in two files, and the one by which it is opened."""
    folder.mkdir()
    scan = vx.ScalarImage(tensor=np.arange(24, dtype="f4").reshape(1, 2, 3, 4))
    scan.save(folder / f"a{suffix}")
    return folder / f"a{suffix}"


def renamed(path, old, new):
    """The same image, whose voxels are in a file of another stem."""
    os.rename(path.with_suffix(".raw"), path.with_name(new))
    text = path.read_text()
    path.write_text(text.replace(old, new))
    return path


CASES = {
    ".hdr": lambda folder: pair(folder, ".hdr"),
    ".img": lambda folder: pair(folder, ".img"),
    ".mhd": lambda folder: pair(folder, ".mhd"),
    ".nhdr": lambda folder: pair(folder, ".nhdr"),
    "another stem, .mhd": lambda folder: renamed(pair(folder, ".mhd"), "a.raw", "voxels.bin"),
    "another stem, .nhdr": lambda folder: renamed(pair(folder, ".nhdr"), "a.raw", "voxels.bin"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["touch", "grow", "delete"])
def test_a_change_of_either_file_is_seen(tmp_path, case, how):
    for number in range(2):
        path = CASES[case](tmp_path / str(number))
        files = files_of(str(path))
        assert len(files) == 2
        source, stamp = open_source(path), InputFingerprint.of(str(path))
        assert source.bytes_on_disk == stamp.size
        victim = files[number]
        if how == "touch":
            os.utime(victim, ns=(1, 1))
        elif how == "grow":
            with open(victim, "ab") as file:
                file.write(b"\n")
        else:
            os.unlink(victim)
        with pytest.raises(SourceChangedError):
            source.read(Selection.whole(source.shape))
        if how != "delete":
            assert InputFingerprint.of(str(path)) != stamp
            assert open_source(path).token() != source.token()


@pytest.mark.parametrize("case", CASES)
def test_a_file_set_is_found_once(tmp_path, case):
    CASES[case](tmp_path / "a")
    assert len(images(str(tmp_path / "a"))) == 1
