"""The pieces that a codec is chosen by: full ones, from the middle of chunks that hold signal."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from archive_samples import DTYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxarray.archive.profiles import Trial, profile
from voxarray.geometry.layout import Layout


def middle(chunk: NDArray, image_bytes: int) -> NDArray:
    """The piece of a chunk (z, y, x), by the planes of which any byte is not zero."""
    planes = [z for z, plane in enumerate(chunk) if any(plane.tobytes())]
    centre = (planes[0] + planes[-1] + 1) * chunk[0].size // 2
    count = min(1 << 17, max(1 << 14, image_bytes // 8)) // chunk.itemsize // 64 * 64
    start = max(0, min(centre - count // 2, chunk.size - count))
    return chunk.reshape(-1)[start : start + count]


def changes(piece: NDArray) -> int:
    return int((piece[1:] != piece[:-1]).sum())


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.tuples(*[st.integers(1, 50)] * 3),
    edges=st.tuples(
        st.sampled_from([24, 30]), st.sampled_from([23, 32]), st.sampled_from([25, 32])
    ),
    dtype=st.sampled_from(DTYPES),
    order=st.permutations(range(3)),
    filled=st.integers(0, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_pieces_of_any_volume(sizes, edges, dtype, order, filled, seed):
    rng = np.random.default_rng(seed)
    voxels = np.zeros(sizes, dtype).transpose(order)  # not in the order of chunks
    for _ in range(filled):
        start = [rng.integers(0, n) for n in voxels.shape]
        part = voxels[tuple(slice(s, s + rng.integers(1, 20)) for s in start)]
        part[...] = rng.integers(0, rng.integers(1, 90), part.shape)
    if np.dtype(dtype).kind == "f":
        voxels[-1, -1, -1] = -0.0
    layout = Layout((1, *voxels.shape), (1, *edges), (1, *edges))
    trial = Trial(profile("default").wide, layout, np.dtype(dtype), lambda block: block)

    def read(region: tuple[range, range, range, range]) -> NDArray:
        return voxels[None][tuple(slice(r.start, r.stop) for r in region)]

    pieces = trial._pieces(tuple(range(n) for n in layout.shape), read)
    expected = []
    for corner in itertools.product(*map(range, layout.chunk_counts)):
        part = read(layout.region(corner))[0]
        chunk = np.pad(part, [(0, e - n) for e, n in zip(edges, part.shape, strict=True)])
        if any(chunk.tobytes()):
            expected.append(middle(np.ascontiguousarray(chunk), voxels.nbytes))
    left = [piece.tobytes() for piece in expected]
    for piece in pieces:
        left.remove(piece.tobytes())
    assert len(pieces) == min(4, len(expected))
    if len(expected) <= 16:  # else the last are not looked at
        fuller = sorted(map(changes, expected), reverse=True)[: max(4, len(expected) // 2)]
        tried = fuller[:: max(1, len(fuller) // 4)][:4]
        assert sorted(map(changes, pieces), reverse=True) == tried


@pytest.mark.parametrize("first", [0, 1, 7])
def test_the_piece_of_one_chunk_is_the_same_without_a_choice(first):
    voxels = np.zeros((1, 40, 40, 40), np.uint16)
    voxels[:, 12:30] = np.random.default_rng(0).integers(first, 900, (18, 40, 40))
    for chunk in ((1, 40, 40, 40), (1, 64, 64, 64)):
        layout = Layout(voxels.shape, chunk, chunk)
        trial = Trial(profile("default").wide, layout, voxels.dtype, lambda block: block)
        box = tuple(range(n) for n in voxels.shape)
        (expected,) = trial._pieces(box, lambda _: voxels)
        (piece,) = trial._only_piece(box, lambda _: voxels)
        assert piece.tobytes() == expected.tobytes()
        assert trial.choose(box, lambda _: voxels) is not None
        assert trial.choose(box, lambda _: np.zeros_like(voxels)) is None
