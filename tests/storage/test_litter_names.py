"""Files that operating systems leave in folders are told from files that somebody put there."""

from __future__ import annotations

import pytest

from voxarray.storage.litter_names import is_litter


@pytest.mark.parametrize("name", [".DS_Store", "._zarr.json", "Thumbs.db", "desktop.ini", ".nfs0a"])
@pytest.mark.parametrize("folder", ["", "scale0/", "labels/seg/"])
def test_litter_is_known_at_any_depth(folder, name):
    assert is_litter(folder + name)


@pytest.mark.parametrize("name", ["zarr.json", "DS_Store", ".DS_Store/a", "a.Thumbs.db", ".nfs"])
def test_other_files_are_no_litter(name):
    assert not is_litter(name)
