"""What interrupted writers left in a bucket: seen, kept, removed when that is said."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import voxarray as vx
from voxarray.archive.cleaning import clean
from voxarray.archive.verify import LEFTOVERS, examine
from voxarray.cli import main


def save(url, seed=0, **options):
    voxels = np.random.default_rng(seed).integers(1, 900, (1, 12, 11, 10)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(url, **options)


@pytest.fixture
def littered(bucket):
    """Three archives: whole, interrupted, and one beside which an interrupted one lies."""
    for name in ("whole", "interrupted", "beside"):
        save(f"{bucket.url}/study/{name}.ome.zarr")
    bucket.delete("study/interrupted.ome.zarr/manifest.json")
    for key in bucket.listed("study/whole.ome.zarr/scale0"):
        inside = key.removeprefix("study/whole.ome.zarr/")
        bucket.put(f"study/beside.ome.zarr/generations/0123456789abcdef/{inside}", b"left")
    bucket.put("study/notes.txt", b"mine")
    bucket.put("study/foreign.zarr/zarr.json", b"{}")
    bucket.put("study/foreign.zarr/scale0/image/zarr.json", b"{}")
    return bucket


def test_leftovers_in_a_bucket_are_reported_and_kept(littered):
    before = littered.listed()
    found = clean(f"{littered.url}/study")
    assert [left.path.removeprefix(f"{littered.url}/study/") for left in found] == [
        "beside.ome.zarr/generations/0123456789abcdef",
        "interrupted.ome.zarr",
    ]
    assert all(left.outcome == "left" and left.bytes for left in found)
    assert littered.listed() == before
    assert examine(f"{littered.url}/study/beside.ome.zarr").notes == [LEFTOVERS]


@pytest.mark.parametrize("below", ["", "/study"])
def test_leftovers_are_removed(littered, below):
    result = CliRunner().invoke(main, ["clean", f"{littered.url}{below}", "--unlocked"])
    assert result.exit_code == 0, result.output
    assert "2 removed" in result.output
    assert not littered.listed("study/interrupted.ome.zarr")
    assert not littered.listed("study/beside.ome.zarr/generations")
    assert len(littered.listed("study/foreign.zarr")) == 2
    assert vx.verify(f"{littered.url}/study/whole.ome.zarr") == []
    assert vx.verify(f"{littered.url}/study/beside.ome.zarr") == []
    assert clean(f"{littered.url}{below}", unlocked=True) == []


def test_archive_that_was_replaced_is_clean(bucket):
    url = f"{bucket.url}/a.ome.zarr"
    save(url)
    save(url, 1, overwrite=True)
    assert clean(bucket.url) == clean(url) == []


def test_damaged_manifest_is_no_reason_to_delete(bucket):
    save(f"{bucket.url}/a.ome.zarr")
    bucket.put("a.ome.zarr/manifest.json", bucket.get("a.ome.zarr/manifest.json")[:-9])
    before = bucket.listed()
    assert clean(bucket.url, unlocked=True) == []
    assert bucket.listed() == before


def test_what_another_writer_left_among_an_archive_is_no_foreign_file(bucket):
    """It had put these objects before it was killed; no key of the archive was taken by them."""
    url = f"{bucket.url}/a.ome.zarr"
    save(url)
    left = ("scale0/image/c/0/0/0/1", "scale1/zarr.json", "scale1/x/c.0", "weight_sums/c/0/0")
    for key in left:
        bucket.put(f"a.ome.zarr/{key}", b"left")
    group = bucket.get("a.ome.zarr/scale0/zarr.json")
    bucket.put("a.ome.zarr/scale1/zarr.json", group)
    size = 12 + len(group)
    assert vx.verify(url) == [] == vx.verify(url, quick=True)
    assert examine(url).notes == [LEFTOVERS]
    assert [(found.path, found.outcome, found.bytes) for found in clean(url)] == [
        (url, "left", size)
    ]
    save(url, 1, overwrite=True)
    assert vx.verify(url) == []
    assert [found.outcome for found in clean(url, unlocked=True)] == ["removed"]
    assert not any(f"a.ome.zarr/{key}" in bucket.listed() for key in left)
    assert vx.verify(url) == []


@pytest.mark.parametrize("key", ["scale0/mask/c/0/0/0", "scale0/notes.txt", "nifti/mine/zarr.json"])
def test_what_others_put_among_an_archive_is_kept(bucket, key):
    url = f"{bucket.url}/a.ome.zarr"
    save(url)
    bucket.put(f"a.ome.zarr/{key}", b"mine")
    assert [(problem.code, problem.where) for problem in vx.verify(url)] == [
        ("EXTRA_FILE", f"{url}: {key}")
    ]
    assert clean(url, unlocked=True) == []
    with pytest.raises(vx.ArchiveExistsError, match="FOREIGN_FILES"):
        save(url, 1, overwrite=True)
    assert bucket.get(f"a.ome.zarr/{key}") == b"mine"


@pytest.mark.parametrize("has_own_root", [False, True])
@pytest.mark.parametrize("form", [zarr.create_group, zarr.create_array])
def test_a_level_that_others_put_into_an_archive_is_kept(bucket, tmp_path, form, has_own_root):
    """Its name is that of a level of ours, and its documents are in the form of others."""
    url = f"{bucket.url}/a.ome.zarr"
    save(url)
    if has_own_root:
        save(url, 1, overwrite=True)
    voxels = np.ones((4, 4), "i2")
    if form is zarr.create_group:
        zarr.create_group(tmp_path / "scale9").create_array("image", data=voxels)
    else:  # no group around it
        zarr.create_array(tmp_path / "scale9" / "image", data=voxels)
    paths = [path for path in (tmp_path / "scale9").rglob("*") if path.is_file()]
    mine = {f"a.ome.zarr/{path.relative_to(tmp_path)}": path.read_bytes() for path in paths}
    for key, data in mine.items():
        bucket.put(key, data)
    assert {problem.code for problem in vx.verify(url)} == {"EXTRA_FILE"}
    assert len(vx.verify(url)) == len(mine)
    assert clean(url, unlocked=True) == []
    with pytest.raises(vx.ArchiveExistsError, match="FOREIGN_FILES"):
        save(url, 2, overwrite=True)
    assert {key: bucket.get(key) for key in mine} == mine


def test_labels_that_others_put_beside_an_archive_below_its_own_root_are_kept(bucket, tmp_path):
    """They find the signpost at the top, and may name levels as we do."""
    url = f"{bucket.url}/a.ome.zarr"
    save(url)
    save(url, 1, overwrite=True)
    group = zarr.create_group(tmp_path / "labels" / "mine" / "scale0")
    group.create_array("image", data=np.ones((4, 4), "i2"))
    paths = [path for path in (tmp_path / "labels").rglob("*") if path.is_file()]
    mine = {f"a.ome.zarr/{path.relative_to(tmp_path)}": path.read_bytes() for path in paths}
    for key, data in mine.items():
        bucket.put(key, data)
    clean(url, unlocked=True)
    assert {key: bucket.get(key) for key in mine} == mine
    assert {problem.code for problem in vx.verify(url)} == {"EXTRA_FILE"}
    save(url, 2, overwrite=True)
    clean(url, unlocked=True)
    assert {key: bucket.get(key) for key in mine} == mine
