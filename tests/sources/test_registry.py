from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxarray.core.errors import MissingFileError, UnsupportedError
from voxarray.formats import registry
from voxarray.formats.registry import known_suffixes, open_source
from voxarray.formats.suffixes import suffix_of
from voxarray.source.array import ArraySource


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii", ".nii"),
        ("a.b.NII.Gz", ".nii.gz"),
        ("/x.zarr/sub-01.ome.zarr", ".ome.zarr"),
        ("/x.zarr/sub-01.ome.zarr/", ".ome.zarr"),
        ("a.v2.zarr", ".zarr"),
        ("a.nii.zarr", ".nii.zarr"),
        ("a.tar.gz", ".gz"),
        ("plain", ""),
        (Path("dir.nii/x.OZX"), ".ozx"),
    ],
)
def test_suffixes(name, suffix):
    assert suffix_of(name) == suffix


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII", "A.NII.GZ"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_opening(tmp_path, name, as_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    source = open_source(as_path(tmp_path / name))
    assert source.shape == (1, 2, 3, 4)
    assert source.path == str(tmp_path / name)


def test_what_is_not_there(tmp_path):
    for name in ("a.nii", "a.ome.zarr", "a.xyz"):
        with pytest.raises(MissingFileError, match="there is no file") as caught:
            open_source(tmp_path / name)
        assert isinstance(caught.value, FileNotFoundError)


def test_unknown_suffix(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"1")
    with pytest.raises(UnsupportedError, match=r"'\.xyz'.*known are.*\.nii, \.nii\.gz") as caught:
        open_source(tmp_path / "a.xyz")
    assert caught.value.code == "UNKNOWN_SUFFIX"


def test_unknown_directory(tmp_path):
    for name in ("folder", "folder.nii"):
        (tmp_path / name).mkdir()
        with pytest.raises(UnsupportedError, match="not a Zarr archive") as caught:
            open_source(tmp_path / name)
        assert caught.value.code == "UNKNOWN_DIRECTORY"


@pytest.mark.parametrize("name", ["folder", "lost.ome.zarr"])
def test_archives_go_to_their_reader(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    if name == "folder":
        (folder / "zarr.json").write_text("{}")
    opened = []
    monkeypatch.setattr(registry, "_load", lambda place: opened.append(place) or opened.append)
    open_source(folder)
    assert opened == ["voxarray.formats.zarr.read:open_zarr", str(folder)]


def test_entry_points(tmp_path, monkeypatch):
    entry = importlib.metadata.EntryPoint("Mnc.gz", f"{__name__}:open_anything", registry.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [entry])
    (tmp_path / "a.mnc.gz").write_bytes(b"1")
    assert open_source(tmp_path / "a.mnc.gz").shape == (1, 2, 2, 2)
    assert ".mnc.gz" in known_suffixes()


def open_anything(path):
    return ArraySource(np.zeros((1, 2, 2, 2)), np.eye(4))


def test_opening_a_scan_loads_little(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    code = (
        "import sys; from voxarray.formats.registry import open_source;"
        f"open_source({str(tmp_path / 'a.nii.gz')!r}).affine;"
        "heavy = {'torch', 'xarray', 'nibabel', 'dask', 'zarr', 'SimpleITK', 'scipy', 'pandas'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"
