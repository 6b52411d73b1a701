"""A file into which others are packed is refused, and the error says what to do with it."""

from __future__ import annotations

import zipfile

import pytest

import voxarray as vx


def refusal(path):
    with pytest.raises(vx.UnsupportedError) as caught:
        vx.ScalarImage(path).load()
    assert caught.value.code == "UNKNOWN_SUFFIX"
    return caught.value.message


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".TGZ", ".7z"])
def test_it_says_to_unpack(tmp_path, suffix):
    path = tmp_path / f"scans{suffix}"
    path.write_bytes(b"whatever")
    told = refusal(path)
    assert "unpack it, and give the path of one scan in it: a file, or a folder" in told
    assert ".nrrd" not in told


def test_a_zip_of_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("a.nii", b"x")
    assert "unpack it" in refusal(tmp_path / "a.zip")


def test_a_zip_of_a_store_only_needs_another_name(tmp_path):
    vx.testing.sample().save(tmp_path / "a.ozx")
    renamed = (tmp_path / "a.ozx").rename(tmp_path / "a.zip")
    assert "it holds a Zarr store: rename it, so that it ends in .ozx" in refusal(renamed)
    assert vx.ScalarImage(renamed.rename(tmp_path / "b.zarr.zip")).shape == (1, 64, 56, 48)


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "a.xyz").write_bytes(b"x")
    assert "known suffixes are .bmp" in refusal(tmp_path / "a.xyz")


def test_a_zip_without_a_store(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as packed:
        packed.writestr("a.nii", b"x")
    with pytest.raises(vx.UnsupportedError, match=r"\.zip is no Zarr group or array: there is no"):
        vx.ScalarImage(tmp_path / "a.zarr.zip").load()
    with pytest.raises(vx.UnsupportedError, match=r"\.zip/b is no Zarr group or array"):
        vx.ScalarImage(tmp_path / "a.zarr.zip/b").load()
