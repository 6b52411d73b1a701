"""A damaged archive of a cohort: what `verify` says to do mends it."""

from __future__ import annotations

import pytest
from cohort_samples import run, save

import voxarray as vx


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
    advice = "restore it, or convert the source again with --overwrite (overwrite=True)"
    assert all(advice in line for line in told.stderr.splitlines() if line.startswith("  "))
    assert advice in told.stderr
    assert "0 converted, 1 up to date" in run("convert", tmp_path / "in", cohort).stdout
    assert run("convert", tmp_path / "in", cohort, "--overwrite").exit_code == 0
    assert vx.verify(cohort) == []


def test_a_reader_says_the_same(cohort):
    (archive,) = (cohort / "subjects").iterdir()
    for shard in archive.glob("scale0/image/c/**/*"):
        if shard.is_file():
            DAMAGES["cut"](shard)
    with pytest.raises(vx.VoxarrayError, match=r"again with --overwrite \(overwrite=True\)"):
        vx.ScalarImage(archive).numpy()


def test_other_voxels_than_the_source_has_are_mended_so_too(cohort, tmp_path):
    """The source has changed, but neither its size nor its times."""
    other = save(tmp_path / "other/1.nii.gz", 2)
    (archive,) = (cohort / "subjects").iterdir()
    (problem,) = vx.verify(archive, source=other)
    assert problem.code == "VOXEL_MISMATCH"
    assert problem.message.endswith("convert the source again with --overwrite (overwrite=True)")
