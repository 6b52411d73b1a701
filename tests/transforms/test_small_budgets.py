"""Transforms are saved in smaller pieces where the budget has no room for slabs of them."""

from __future__ import annotations

import filecmp
import re
from pathlib import Path

import dask.config
import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.projection import (
    block_and_peak,
    layouts_of,
    peak_of,
    projected_peak,
    usual_block,
)
from voxarray.archive.voxel_encoding import encoding_of
from voxarray.testing.peak_memory import can_measure, peak_above_imports

MIB = 1 << 20
SHAPE = (1, 400, 400, 80)
BUDGET = 132 * MIB
DECODED = 12 * MIB
"""More of the budget for a small compressed file, which is kept decoded."""

TRANSFORMS = {
    "Blur": "vx.Blur(0.8)",
    "Pad": "vx.Pad(5)",
    "Resample": "vx.Resample((0.9, 0.9, 1.1))",
}


def budget(count: int):
    return dask.config.set({"voxarray.memory-budget": count, "voxarray.threads": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("budgets")
    noise = np.random.default_rng(0).integers(1, 200, (1, 400, 400, 8)).astype("int16")
    for name, tiles in (("tiny", 1), ("scan", SHAPE[3] // 8)):
        scan = vx.ScalarImage(tensor=np.tile(noise, tiles), affine=np.eye(4))
        for suffix in (".nii", ".nii.gz", ".ome.zarr"):
            scan.save(folder / f"{name}{suffix}")
    return folder


def files_of(archive: Path) -> list[str]:
    return sorted(str(file.relative_to(archive)) for file in archive.rglob("*") if file.is_file())


@pytest.mark.parametrize("code", TRANSFORMS.values(), ids=TRANSFORMS)
def test_pieces_make_the_same_archive(folder, tmp_path, code):
    image = eval(code)(vx.ScalarImage(folder / "scan.nii"))
    storage = encoding_of(image.source)
    layouts, _ = layouts_of(storage, None)
    usual = usual_block(storage.source, layouts[0])
    with budget(1 << 30):
        assert block_and_peak(storage, layouts)[0] == usual
        image.save(tmp_path / "whole.ome.zarr")
    with budget(BUDGET):
        assert peak_of(storage, layouts, usual) > BUDGET
        assert np.prod(block_and_peak(storage, layouts)[0]) < np.prod(usual)
        image.save(tmp_path / "pieces.ome.zarr")
    whole, pieces = (tmp_path / f"{name}.ome.zarr" for name in ("whole", "pieces"))
    names = files_of(whole)
    assert files_of(pieces) == names
    voxels = [name for name in names if re.search(r"/c/\d", name)]
    assert voxels
    assert filecmp.cmpfiles(whole, pieces, voxels, shallow=False)[0] == voxels


def test_pieces_of_a_graph_keep_its_blocks_whole_and_its_voxels(folder, tmp_path):
    blurred = vx.Blur(0.8)(vx.ScalarImage(folder / "scan.nii")).rechunk(64)
    storage = encoding_of(blurred.source)
    layouts, _ = layouts_of(storage, None)
    with budget(BUDGET):
        block = block_and_peak(storage, layouts)[0]
        assert block != usual_block(storage.source, layouts[0])
        assert not any(size % 64 for size in block[1:3])
        blurred.save(tmp_path / "pieces.ome.zarr")
    with budget(1 << 30):
        expected = blurred.numpy()
    np.testing.assert_array_equal(vx.ScalarImage(tmp_path / "pieces.ome.zarr").numpy(), expected)


@pytest.mark.slow
@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
@pytest.mark.parametrize("code", TRANSFORMS.values(), ids=TRANSFORMS)
def test_peak_is_within_projection_and_budget(folder, tmp_path, code, suffix):
    setup = f"""
import voxarray as vx
def run(name):
    image = {code}(vx.ScalarImage({str(folder)!r} + "/" + name + {suffix!r}))
    image.save({str(tmp_path)!r} + "/out.ome.zarr", overwrite=True)
run("tiny")
"""
    allowed = BUDGET + DECODED * (suffix == ".nii.gz")
    environment = {
        "DASK_VOXARRAY__MEMORY_BUDGET": str(allowed),
        "DASK_VOXARRAY__THREADS": "2",
    }
    peak = peak_above_imports(setup, "run('scan')", environment=environment)
    with budget(allowed):
        image = eval(code)(vx.ScalarImage(folder / f"scan{suffix}"))
        projected = projected_peak(image.source)
        storage = encoding_of(image.source)
        layouts, _ = layouts_of(storage, None)
        assert peak_of(storage, layouts, usual_block(storage.source, layouts[0])) > allowed
    print(f"{code} {suffix}: {peak.bytes / MIB:.1f} of {projected / MIB:.1f} MiB")
    assert peak.bytes <= projected <= allowed


@pytest.mark.parametrize("suffix", [".ome.zarr", ".nii.gz"])
@pytest.mark.parametrize("edge", [None, 64])
def test_advice_is_what_helps(folder, tmp_path, monkeypatch, suffix, edge):
    image = vx.ScalarImage(folder / "scan.nii")
    image = vx.Blur(0.8)(image) if edge is None else vx.Blur(0.8)(image).rechunk(128)
    path, begun = tmp_path / f"out{suffix}", []
    monkeypatch.setattr("voxarray.saving._write", lambda *_: begun.append(1))
    with budget(90 * MIB), pytest.raises(vx.MemoryBudgetError) as refused:
        image.save(path)
    enough = re.search(r"raise the budget to (\d+) MiB", str(refused.value))
    assert enough
    with budget(int(enough[1]) * MIB):
        image.save(path)
    chunks = re.search(r"chunks=(\d+)", str(refused.value))
    if chunks:
        with budget(90 * MIB):
            image.save(tmp_path / "chunked.ome.zarr", chunks=int(chunks[1]))
    assert len(begun) == 1 + bool(chunks)
