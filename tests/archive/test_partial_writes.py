"""An archive that was written in parts is the archive, byte for byte."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxarray.archive.convert import convert, planned
from voxarray.archive.options import Options
from voxarray.archive.partial_writes import divided, write_part
from voxarray.archive.verify import verify
from voxarray.core.errors import ArchiveError, MemoryBudgetError
from voxarray.formats.registry import open_source
from voxarray.testing.peak_memory import can_measure, peak_above_imports

OPTIONS = Options(chunk=8)
_DIES = """
import os, pickle, signal, sys
from voxarray.archive import convert
from voxarray.archive import partial_writes as parts
from voxarray.archive.options import Options
parts._write_coarser = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
source, written = pickle.load(sys.stdin.buffer)
convert.convert(source, sys.argv[1], options=Options(chunk=8), parts=written)
"""


def scan(path: Path, shape, dtype=np.int16, scale: float = 1, spacing=(1, 1, 1), least=-90) -> Path:
    voxels = np.random.default_rng(3).integers(least, 900, shape) / (7 if dtype == "f4" else 1)
    voxels[: shape[0] // 2] = 0  # background chunks are left out of shards
    image = nib.Nifti1Image(voxels.astype(dtype), np.diag([*spacing, 1]))
    image.header.set_slope_inter(scale, 0)
    nib.save(image, path)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


SHAPES = [(20, 33, 131), (26, 25, 65), (40, 32, 64), (33, 31, 97)]
KINDS = ["int16", "float32", "weights", "whole", "scaled", "flat"]
DIVIDED = [
    # Each pair of a shape and a kind, of a shape and levels, and of both once or twice; all in the
    # soak.
    pytest.param(
        shape,
        levels,
        kind,
        marks=() if (n + m + k) % 3 == 0 else pytest.mark.slow,
        id=f"{kind}-{levels}-{shape}",
    )
    for k, kind in enumerate(KINDS)
    for m, levels in enumerate([None, 1, 2])
    for n, shape in enumerate(SHAPES)
]


@pytest.mark.parametrize(("shape", "levels", "kind"), DIVIDED)
def test_parts_make_the_same_bytes(tmp_path, shape, levels, kind):
    dtype = "f4" if kind in ("float32", "weights") else np.float64 if kind == "whole" else np.int16
    spacing = (1, 1, 4) if kind == "flat" else (1, 1, 1)
    least = 0 if kind == "weights" else -90
    slope = 0.3 if kind == "scaled" else 1
    file = scan(tmp_path / "scan.nii", shape, dtype, slope, spacing, least)
    source = open_source(file)
    options = Options(chunk=8, levels=levels)
    convert(source, tmp_path / "whole.ome.zarr", options=options, extremes=True)
    plan = planned(source, options=options)
    planes = divided(plan, 3)
    assert 1 < len(planes) <= 3
    assert [z for part in planes for z in part] == list(range(shape[2]))
    parts = [write_part(plan, part, folder_of_parts(tmp_path)) for part in reversed(planes)]
    convert(source, tmp_path / "out.ome.zarr", options=options, extremes=True, parts=parts)
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "whole.ome.zarr")
    assert verify(tmp_path / "out.ome.zarr") == []
    assert (tmp_path / "out.ome.zarr/weight_sums").exists() == (kind == "weights")


def folder_of_parts(folder: Path) -> str:
    (folder / "parts").mkdir(exist_ok=True)
    return str(folder / "parts")


def test_what_is_not_divided(tmp_path):
    flat = open_source(scan(tmp_path / "flat.nii", (20, 20, 32)))
    assert divided(planned(flat, options=OPTIONS), 4) == []
    series = open_source(scan(tmp_path / "series.nii", (8, 8, 80, 3)))
    assert divided(planned(series, options=OPTIONS), 4) == []
    deep = open_source(scan(tmp_path / "deep.nii", (8, 8, 200)))
    assert divided(planned(deep, "label", OPTIONS), 4) == []
    assert divided(planned(deep, options=OPTIONS), 1) == []


@pytest.mark.parametrize("kept", [[0], [1], [0, 0], [1, 1, 0]])
def test_a_missing_part_is_refused(tmp_path, kept):
    """Its planes would read as background."""
    source = open_source(scan(tmp_path / "scan.nii", (20, 33, 131)))
    plan = planned(source, options=OPTIONS)
    parts = [write_part(plan, one, folder_of_parts(tmp_path)) for one in divided(plan, 2)]
    with pytest.raises(
        ArchiveError, match=r"written twice: it has 131 planes, .*; convert the image again"
    ) as error:
        convert(source, tmp_path / "out.ome.zarr", options=OPTIONS, parts=[parts[n] for n in kept])
    assert error.value.code == "MISSING_PART"
    assert sorted(os.listdir(tmp_path)) == ["parts", "scan.nii"]


def test_who_dies_while_parts_are_put_together_leaves_them(tmp_path):
    """Another worker is given the same parts then, and finds all of their files."""
    source = open_source(scan(tmp_path / "scan.nii", (20, 33, 131)))
    convert(source, tmp_path / "whole.ome.zarr", options=OPTIONS)
    plan = planned(source, options=OPTIONS)
    parts = [write_part(plan, one, folder_of_parts(tmp_path)) for one in divided(plan, 2)]
    died = subprocess.run(
        [sys.executable, "-c", _DIES, tmp_path / "out.ome.zarr"],
        input=pickle.dumps((source, parts)),
    )
    assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".out*/archive/scale0/**/c"))) == 1  # it had begun
    convert(source, tmp_path / "out.ome.zarr", options=OPTIONS, parts=parts)
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "whole.ome.zarr")
    assert not list(tmp_path.glob(".out*"))


def test_parts_are_moved_where_links_are_refused(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    source = open_source(scan(tmp_path / "scan.nii", (20, 33, 131)))
    convert(source, tmp_path / "whole.ome.zarr", options=OPTIONS)
    plan = planned(source, options=OPTIONS)
    parts = [write_part(plan, one, folder_of_parts(tmp_path)) for one in divided(plan, 2)]
    monkeypatch.setattr(os, "link", refused)
    convert(source, tmp_path / "out.ome.zarr", options=OPTIONS, parts=parts)
    assert tree(tmp_path / "out.ome.zarr") == tree(tmp_path / "whole.ome.zarr")


def test_a_part_that_changed_on_the_disk_is_refused(tmp_path):
    source = open_source(scan(tmp_path / "scan.nii", (20, 33, 131)))
    plan = planned(source, options=OPTIONS)
    parts = [write_part(plan, one, folder_of_parts(tmp_path)) for one in divided(plan, 2)]
    file = Path(parts[1].folder) / "next-level.raw"
    raw = bytearray(file.read_bytes())
    raw[11] ^= 4
    file.write_bytes(raw)
    with pytest.raises(ArchiveError) as error:
        convert(source, tmp_path / "out.ome.zarr", options=OPTIONS, parts=parts)
    assert error.value.code == "VERIFY_FAILED"
    assert sorted(os.listdir(tmp_path)) == ["parts", "scan.nii"]


def test_a_budget_is_kept_before_anything_is_read(tmp_path):
    import dask.config

    plan = planned(open_source(scan(tmp_path / "scan.nii", (20, 33, 131))), options=OPTIONS)
    with dask.config.set({"voxarray.memory-budget": "1 MiB"}), pytest.raises(MemoryBudgetError):
        write_part(plan, divided(plan, 2)[0], folder_of_parts(tmp_path))


@pytest.mark.skipif(not can_measure(), reason="Linux tells peaks")
def test_memory_of_a_part_is_what_was_projected(tmp_path):
    from voxarray.testing.synthetic import Phantom, write_nifti

    write_nifti(Phantom((256, 256, 512)), tmp_path / "scan.nii")  # 64 MiB of voxels
    setup = f"""
from voxarray.archive.convert import convert, planned
from voxarray.archive.partial_writes import divided, write_part
from voxarray.formats.registry import open_source
source = open_source({str(tmp_path / "scan.nii")!r})
plan = planned(source)
parts = [write_part(plan, one, {str(tmp_path)!r}) for one in divided(plan, 2)[1:]]
"""
    part = f"write_part(plan, divided(plan, 2)[0], {str(tmp_path)!r}); result = plan.projected_peak"
    cost = peak_above_imports(setup, part)
    assert cost.bytes < cost.result
    setup += f"parts += [write_part(plan, divided(plan, 2)[0], {str(tmp_path)!r})]\n"
    rest = f"convert(source, {str(tmp_path / 'out.ome.zarr')!r}, parts=parts)"
    assert peak_above_imports(setup, rest).bytes < cost.result
