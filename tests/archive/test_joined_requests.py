"""Which chunks of a shard are read by one request."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from voxarray.archive.joined_requests import Extent, joined


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40)), max_size=20),
    st.integers(0, 30),
    st.integers(1, 200),
    st.randoms(),
)
def test_every_chunk_is_asked_for_once(rows, gap, most, random):
    extents, offset = [], 0
    for number, (length, hole) in enumerate(rows):
        extents.append(Extent(number, offset, length))
        offset += length + hole
    given_ = extents.copy()
    random.shuffle(given_)
    groups = list(joined(given_, gap, most))
    assert [one for group in groups for one in group] == extents
    for group in groups:
        assert len(group) == 1 or group[-1].offset + group[-1].length - group[0].offset <= most
        for one, other in itertools.pairwise(group):
            assert other.offset - one.offset - one.length <= gap
    for one, other in itertools.pairwise(groups):
        end = one[-1].offset + one[-1].length
        whole = other[0].offset + other[0].length - one[0].offset
        assert other[0].offset - end > gap or whole > most
