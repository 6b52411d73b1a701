"""What sources of all formats have in common: laziness, sharing, change, and bounded reading."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from header_samples import everything, numbers, opened
from voxarray.core.errors import SourceChangedError, VoxarrayWarning
from voxarray.formats._voxels import itk_writing
from voxarray.formats.registry import open_source
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Selection
from voxarray.saving import save
from voxarray.source.array import ArraySource
from voxarray.source.block_cache import BLOCKS
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import index_expressions

AFFINE = ras_from_itk([2, 3, 4], [5, 6, 7], np.eye(3).ravel())
SHAPE = (1, 9, 8, 7)

SUFFIXES = [
    *(".img", ".img.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh", ".mgz", ".mnc", ".vtk"),
    *(".gipl", ".gipl.gz", ".h5", ".tif", ".npy"),
]
DECODED = {".img.gz", ".mgz", ".gipl.gz"}


@pytest.fixture(scope="module", autouse=True)
def _itk_writes_in_this_process():
    """Tests of formats and of full disks have it write in a process of its own, file by file."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(itk_writing, "_ENDING", ())
        yield


@pytest.fixture(params=SUFFIXES)
def path(tmp_path, request):
    target = tmp_path / f"a{request.param}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        if request.param == ".npy":
            np.save(target, numbers(SHAPE))
        else:
            save(ArraySource(numbers(SHAPE), AFFINE), target, label=False, overwrite=False)
    return target


def test_opening_reads_no_voxel(path):
    BLOCKS.clear()
    made = BLOCKS.blocks_made
    with count_reads() as reads:
        source, _ = opened(path)
        _ = source.shape, source.dtype, source.affine, source.chunks, source.token(), source.grid
    assert reads.voxels == reads.decoded == 0
    assert BLOCKS.blocks_made == made


def test_a_part_decodes_once(path):
    source, _ = opened(path)
    BLOCKS.clear()
    made = BLOCKS.blocks_made
    part = Selection.whole(source.shape)[2:5, 3, ::2]
    for _ in range(3):
        assert np.array_equal(source.read(part), numbers(SHAPE)[part.slices()])
    decoded = any(path.name.endswith(suffix) for suffix in DECODED)
    assert BLOCKS.blocks_made - made == decoded


@given(data=st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_part(path, data):
    source, _ = opened(path)
    try:
        part = Selection.whole(source.shape)[data.draw(index_expressions(source.shape))]
    except (IndexError, ValueError):
        return
    assert np.array_equal(source.read(part), numbers(SHAPE)[part.slices()])


def test_affines_are_read_only_also_in_copies(path):
    source, _ = opened(path)
    for one in (source, pickle.loads(pickle.dumps(source))):
        with pytest.raises(ValueError, match="read-only"):
            one.affine[0, 0] = 5
        assert np.array_equal(everything(one), numbers(SHAPE))
    assert pickle.loads(pickle.dumps(source)).token() == source.token()


def test_tokens(path):
    source, _ = opened(path)
    assert opened(path)[0].token() == source.token()
    stamp = path.stat().st_mtime_ns
    os.utime(path, ns=(stamp, stamp + 10))
    assert opened(path)[0].token() != source.token()


def test_change_and_removal(path):
    source, _ = opened(path)
    everything(source)  # also what is in the cache must not be handed out any more
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChangedError, match="changed after it was opened"):
        everything(source)
    path.unlink()
    with pytest.raises(SourceChangedError, match="deleted"):
        everything(source)


def test_replaced_by_another(path):
    source, _ = opened(path)
    stamp = path.stat()
    os.rename(path, path.with_name("old"))
    path.write_bytes(path.with_name("old").read_bytes())
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(SourceChangedError):
        everything(source)


def test_threads(path):
    source, _ = opened(path)
    BLOCKS.clear()
    parts = [Selection.whole(SHAPE)[n % 9, :, ::-1] for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for part, found in zip(parts, pool.map(source.read, parts), strict=True):
            assert np.array_equal(found, numbers(SHAPE)[part.slices()])


def test_forks(path):
    source, _ = opened(path)
    everything(source)
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with context.Pool(1) as pool:
            assert np.array_equal(pool.apply_async(everything, (source,)).get(30), numbers(SHAPE))


def test_read_only_folders(path):
    """Nothing is written beside the source, no lock and no index."""
    before = sorted(os.listdir(path.parent))
    stamps = {name: (path.parent / name).stat().st_mtime_ns for name in before}
    everything(opened(path)[0])
    assert sorted(os.listdir(path.parent)) == before
    assert stamps == {name: (path.parent / name).stat().st_mtime_ns for name in before}


def test_without_a_cache(path):
    with dask.config.set({"voxarray.block-cache": "0 B"}):
        BLOCKS.clear()
        assert np.array_equal(everything(opened(path)[0]), numbers(SHAPE))


def test_a_neighbour_of_the_same_name(tmp_path):
    """``a.mgh`` beside ``a.mgz``, and so on: the one that is named is read."""
    for n, suffix in enumerate((".mgh", ".mgz", ".nrrd", ".mha", ".img", ".img.gz", ".vtk")):
        array = np.full((1, 2, 3, 4), n, "i2")
        save(ArraySource(array, AFFINE), tmp_path / f"a{suffix}", label=False, overwrite=False)
    for n, suffix in enumerate((".mgh", ".mgz", ".nrrd", ".mha", ".img", ".img.gz", ".vtk")):
        assert (everything(open_source(tmp_path / f"a{suffix}")) == n).all()


def test_a_plain_box_reads_only_its_bytes(tmp_path, monkeypatch):
    from voxarray.storage import raw_voxels

    array = numbers((1, 64, 64, 64))
    save(ArraySource(array, AFFINE), tmp_path / "a.nrrd", label=False, overwrite=False)
    source, _ = opened(tmp_path / "a.nrrd")
    read = []
    exactly = raw_voxels.read_exactly
    monkeypatch.setattr(
        raw_voxels,
        "read_exactly",
        lambda fd, view, at: read.append(len(view)) or exactly(fd, view, at),
    )
    source.read(Selection.whole(source.shape)[..., 10])
    assert sum(read) == 64 * 64 * 2
