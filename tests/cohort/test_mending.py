"""A damaged archive of a cohort: what `verify` says to do mends it."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from cohort_samples import run, save

import voxarray as vx
from voxarray.core.error_messages import MAKE_AGAIN, REPLACED_WITHOUT


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "flip": lambda shard: shard.write_bytes(flipped(shard.read_bytes())),
    "cut": lambda shard: shard.write_bytes(shard.read_bytes()[:-9]),
    "lost": lambda shard: shard.unlink(),
}


@pytest.fixture
def cohort(tmp_path):
    save(tmp_path / "in/1.nii.gz", 1)
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", progress=False)
    return tmp_path / "out"


@pytest.mark.parametrize(  # sizes alone do not tell a flipped bit
    ("damage", "quick"),
    [("flip", False), ("cut", False), ("cut", True), ("lost", False), ("lost", True)],
)
def test_overwrite_mends_what_verify_found(cohort, tmp_path, damage, quick):
    """To convert again alone, as it said before, leaves the archive as it is."""
    shards = (one for one in cohort.glob("subjects/*/scale0/image/c/**/*") if one.is_file())
    DAMAGES[damage](max(shards, key=lambda shard: shard.stat().st_size))
    told = run("verify", cohort, *(["--quick"] if quick else []))
    assert told.exit_code == 1
    advice = f"restore it, or {MAKE_AGAIN}"
    assert all(advice in line for line in told.stderr.splitlines() if line.startswith("  "))
    assert advice in told.stderr
    assert "0 converted, 1 up to date" in run("convert", tmp_path / "in", cohort).stdout
    assert run("convert", tmp_path / "in", cohort, "--overwrite").exit_code == 0
    assert vx.verify(cohort) == []


def added(cohort):
    """The archive of a cohort, with a label map that was added."""
    (archive,) = (cohort / "subjects").iterdir()
    image = vx.ScalarImage(archive)
    label_map = vx.LabelMap(tensor=np.ones(image.shape, np.uint8), affine=image.affine)
    vx.Archive(archive).add_labels("brain", label_map)
    return archive


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("inside", ["", "labels/brain/"])
def test_one_archive_by_its_path_is_mended_as_it_says(cohort, tmp_path, quick, inside):
    """It said to convert with --overwrite: for a cohort that makes all archives again, and it did
    not say that label maps which were added are lost.
    """
    archive = added(cohort)
    shards = (one for one in archive.glob(f"{inside}scale0/image/c/**/*") if one.is_file())
    DAMAGES["cut"](max(shards, key=lambda shard: shard.stat().st_size))
    told = run("verify", archive, *(["--quick"] if quick else []))
    assert told.exit_code == 1
    assert f"restore it, or {MAKE_AGAIN}" in told.stderr
    assert "with --overwrite" not in told.stderr
    with pytest.raises(vx.VoxarrayError, match=re.escape(MAKE_AGAIN)):
        vx.ScalarImage(archive / inside).numpy()
    shutil.rmtree(archive)
    assert "1 converted, 0 up to date" in run("convert", tmp_path / "in", cohort).stdout
    assert vx.verify(cohort) == []
    assert list(vx.Archive(archive).labels) == []  # as it said


def test_what_replacing_an_archive_costs_is_said_before(cohort, tmp_path):
    image = vx.ScalarImage(added(cohort))
    for name in ("a.ome.zarr", "a.nii"):
        image.save(tmp_path / name)
        with pytest.raises(vx.ArchiveExistsError) as caught:
            vx.convert(image, tmp_path / name)
        assert (REPLACED_WITHOUT in caught.value.message) == name.endswith("zarr")
    with pytest.raises(vx.ArchiveExistsError, match=REPLACED_WITHOUT):
        image.save(tmp_path / "a.ome.zarr", overwrite=False)


def test_a_reader_says_the_same(cohort):
    (archive,) = (cohort / "subjects").iterdir()
    for shard in archive.glob("scale0/image/c/**/*"):
        if shard.is_file():
            DAMAGES["cut"](shard)
    with pytest.raises(vx.VoxarrayError, match=re.escape(f"restore it, or {MAKE_AGAIN}")):
        vx.ScalarImage(archive).numpy()


def test_other_voxels_than_the_source_has_are_mended_so_too(cohort, tmp_path):
    """The source has changed, but neither its size nor its times."""
    other = save(tmp_path / "other/1.nii.gz", 2)
    (archive,) = (cohort / "subjects").iterdir()
    (problem,) = vx.verify(archive, source=other)
    assert problem.code == "VOXEL_MISMATCH"
    assert problem.message.endswith(f"that the archive was made from, or {MAKE_AGAIN}")
