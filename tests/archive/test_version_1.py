"""Archives that voxarray 0.1.0 wrote open for ever, and are told apart."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archive_samples import OBLIQUE, blobs, same_bits, whole
from archive_samples import archive as converted
from click.testing import CliRunner

from voxarray.archive import handle_cache
from voxarray.archive.source import label_names, open_archive
from voxarray.archive.verify import examine, verify
from voxarray.cli import main
from voxarray.core.errors import ChecksumError, FormatError

WRITTEN = Path(__file__).parent / "version_1"
SHAPE = (1, 18, 17, 13)


def scan(dtype: str) -> np.ndarray:
    number = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    values = number * number % 1009 - 200
    values[:, :8, :8, :8] = 0  # a chunk that is background
    return values.astype(dtype)


def labels() -> np.ndarray:
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE) // 37 % 5
    values[:, 8:] = 0
    return values.astype("u1")


VOXELS = {"intensity": scan("i2"), "label": labels(), "raw": scan("f4"), "training": scan("i2")}


@pytest.fixture(params=[".ozx", ".ome.zarr"])
def written(request, tmp_path):
    """A function that lays out one of the archives, as a zip or as the folder that it packs."""

    def lay_out(name: str) -> Path:
        packed = tmp_path / f"{name}.ozx"
        packed.write_bytes(gzip.decompress((WRITTEN / f"{name}.ozx.gz").read_bytes()))
        if request.param == ".ozx":
            return packed
        with zipfile.ZipFile(packed) as members:
            members.extractall(tmp_path / f"{name}.ome.zarr")
        return tmp_path / f"{name}.ome.zarr"

    return lay_out


@pytest.mark.parametrize("name", sorted(VOXELS))
def test_voxels_and_places_are_what_they_were(written, name):
    path = written(name)
    opened = open_archive(path)
    assert same_bits(whole(opened), VOXELS[name])
    np.testing.assert_array_equal(opened.affine, OBLIQUE)
    assert opened.levels == 2
    made_today = open_archive(
        converted(
            path.parent / "today.ome.zarr",
            VOXELS[name],
            kind="label" if name == "label" else "intensity",
            chunk=4,
            levels=2,
        )
    )
    assert same_bits(whole(opened.level(1)), whole(made_today.level(1)))
    assert opened.nifti_header == made_today.nifti_header
    assert (opened.label_counts is None) == (name != "label")


def test_label_maps_are_what_they_were(written):
    path = written("intensity")
    assert label_names(path) == ["seg"]
    found = open_archive(path / "labels/seg")
    assert same_bits(whole(found), labels())
    assert [label.name for label in found.label_table] == ["one"]


@pytest.mark.parametrize("name", sorted(VOXELS))
def test_archives_of_version_1_pass_verify_and_keep_their_version(written, name):
    path = written(name)
    assert verify(path) == []
    opened = open_archive(path)
    assert handle_cache.manifest(opened.store, opened.opened).version == 1
    new = open_archive(converted(path.parent / "new.ome.zarr", blobs(SHAPE)))
    assert handle_cache.manifest(new.store, new.opened).version == 2


@pytest.mark.parametrize("name", sorted(VOXELS))
def test_damage_is_found_as_it_was(written, name):
    path = written(name)
    key = path if path.is_file() else path / "scale0/image/c/0/0/0/0"
    data = bytearray(key.read_bytes())
    at = len(data) // 3 if path.is_file() else 7
    data[at] ^= 1
    key.write_bytes(data)
    assert verify(path) != []
    if path.is_dir():
        with pytest.raises((ChecksumError, FormatError)):
            whole(path)


@pytest.mark.parametrize("name", sorted(VOXELS))
def test_a_note_says_that_their_digests_prove_little(written, name):
    (note,) = examine(written(name)).notes
    assert verify(written(name), quick=True) == []
    assert "version 1" in note
    assert "convert the source again" in note


def test_verify_reports_how_many_archives_are_of_version_1(written, tmp_path):
    for name in ("intensity", "raw"):
        written(name)
    converted(tmp_path / "new.ome.zarr", blobs(SHAPE))
    told = CliRunner().invoke(main, ["verify", str(tmp_path)])
    assert told.exit_code == 0
    old = len(list(tmp_path.glob("*.ozx"))) + len(list(tmp_path.glob("[ir]*.ome.zarr")))
    assert f"note: {old} archives are of format version 1" in told.output
    quick = CliRunner().invoke(main, ["verify", "--quick", str(tmp_path / "new.ome.zarr")])
    assert quick.exit_code == 0
    assert "note:" not in quick.output
