from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.cohort.discover.files import images
from voxarray.core.errors import MissingFileError, UnsupportedError, VoxarrayWarning
from voxarray.formats import plugins, registry
from voxarray.formats.record import Format
from voxarray.formats.registry import known_suffixes, open_source
from voxarray.formats.suffixes import suffix_of
from voxarray.formats.table import FORMATS
from voxarray.source.array import ArraySource


def test_the_table_finds_what_going_through_it_finds():
    endings = [s for one in FORMATS for s in (*one.suffixes, *one.written)]
    assert all(ending.startswith(".") for ending in endings)
    heads = ["a", "a.b", ".a", "A.nii", "", ".", "x..", "a.zarr"]
    names = [head + end for head in heads for end in (*endings, ".gz", ".txt", "", ".NII.gz")]
    for name in filter(None, names):
        for table, suffixes in (
            (registry._OPENED, registry._suffixes),
            (registry._WRITTEN, registry._written),
        ):
            expected = registry._fitting(name, FORMATS, suffixes)
            assert registry._of_table(name, table) is expected, name


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


def test_a_missing_file_is_refused(tmp_path):
    for name in ("a.nii", "a.ome.zarr", "a.xyz"):
        with pytest.raises(MissingFileError, match="there is no file") as caught:
            open_source(tmp_path / name)
        assert isinstance(caught.value, FileNotFoundError)


def test_unknown_suffix(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"1")
    with pytest.raises(
        UnsupportedError, match=r"'\.xyz'.*known suffixes are.*\.nii, .*\.nii\.gz"
    ) as caught:
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
    monkeypatch.setattr(registry, "load", lambda place: opened.append(place) or opened.append)
    open_source(folder)
    assert opened == ["voxarray.formats.zarr.read:open_zarr", str(folder)]


def test_entry_points(tmp_path, monkeypatch):
    add_entry_points(monkeypatch, ("Mnc.gz", "open_anything", plugins.SOURCES_GROUP))
    (tmp_path / "a.mnc.gz").write_bytes(b"1")
    assert open_source(tmp_path / "a.mnc.gz").shape == (1, 2, 2, 2)
    assert ".mnc.gz" in known_suffixes()


def open_anything(path):
    return ArraySource(np.zeros((1, 2, 2, 2)), np.eye(4))


def save_anything(request):
    Path(request.path).write_text(str(request.source.shape))


ADDED = Format(
    "made up",
    (".xyz", ".xyz.gz"),
    open=f"{__name__}:open_anything",
    write=f"{__name__}:save_anything",
)
CLASHING = Format("another NIfTI", (".nii", ".made"), open=f"{__name__}:open_anything")
NO_FORMAT = "a text"


def add_entry_points(monkeypatch, *entries):
    """Entry points (name, member of this module, group), as installed packages have them."""
    made = [
        importlib.metadata.EntryPoint(name, f"{__name__}:{member}", group)
        for name, member, group in entries
    ]
    found = plugins._of_both_groups(importlib.metadata.EntryPoints(made))
    monkeypatch.setattr(plugins, "_installed", lambda _: found)


def install(folder, name, *suffixes):
    """A package that adds formats, as pip leaves it."""
    installed = folder / f"{name}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    entries = "\n".join(f"{suffix} = {__name__}:open_anything" for suffix in suffixes)
    (installed / "entry_points.txt").write_text(f"[{plugins.SOURCES_GROUP}]\n{entries}\n")
    found = folder.stat()  # whose clock may stand still between two packages
    os.utime(folder, ns=(found.st_atime_ns, found.st_mtime_ns + 10_000_000))


def test_packages_are_read_again_only_after_one_was_installed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    asked = []
    original = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda: asked.append(1) or original())
    for _ in range(3):
        assert ".added" not in known_suffixes()
    assert len(asked) == 1
    install(tmp_path, "one", "added")
    for _ in range(3):
        assert ".added" in known_suffixes()
    assert len(asked) == 2
    install(tmp_path, "two", "more")
    assert {".added", ".more"} <= set(known_suffixes())
    monkeypatch.undo()
    assert not {".added", ".more"} & set(known_suffixes())


def test_added_format_opens_saves_and_is_found(tmp_path, monkeypatch):
    add_entry_points(monkeypatch, ("xyz", "ADDED", plugins.GROUP))
    image = vx.ScalarImage(tensor=np.zeros((1, 4, 5, 6), np.float32))
    image.save(tmp_path / "a.xyz.gz")
    assert (tmp_path / "a.xyz.gz").read_text() == "(1, 4, 5, 6)"
    assert vx.ScalarImage(tmp_path / "a.xyz.gz").shape == (1, 2, 2, 2)
    assert images(str(tmp_path)) == [tmp_path / "a.xyz.gz"]
    with pytest.raises(UnsupportedError) as caught:
        image.save(tmp_path / "a.xyz", codec="training")
    assert caught.value.code == "UNUSED_KEYWORD"


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ("missing", "BAD_FORMAT_ENTRY"),
        ("NO_FORMAT", "BAD_FORMAT_ENTRY"),
        ("CLASHING", "DUPLICATE_FORMAT"),
    ],
)
def test_a_bad_entry_is_named_and_the_others_work(tmp_path, monkeypatch, member, code):
    add_entry_points(monkeypatch, ("bad", member, plugins.GROUP), ("xyz", "ADDED", plugins.GROUP))
    (tmp_path / "a.xyz").write_bytes(b"1")
    with pytest.warns(VoxarrayWarning, match=f"{code}.*'bad'"):
        assert open_source(tmp_path / "a.xyz").shape == (1, 2, 2, 2)


def test_every_suffix_has_one_format():
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(suffixes) == len(set(suffixes))


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_functions_named_by_a_format_exist(one):
    for place in (one.open, one.write, one.peak, one.data_file):
        assert place is None or callable(registry.load(place))
    assert set(one.written) <= set(one.suffixes)
    assert (one.identity == "detached") == (one.data_file is not None)
    assert set(dict(one.companions)) <= set(one.suffixes)


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
