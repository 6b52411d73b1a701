"""Facts of the format that compiled loops state again, for they import machine words alone."""

from __future__ import annotations

import pytest

from voxarray.archive import blosc_frame, codecs

compiled = pytest.importorskip("voxarray.archive.compiled", exc_type=ImportError)


def test_compiled_loops_state_the_facts_of_the_format_alike():
    assert compiled._CRC_BYTES == codecs.CRC_BYTES
    assert compiled._RESIDUE == codecs._RESIDUE
    assert compiled._HEADER == blosc_frame.HEADER
    assert compiled._UNCOMPRESSED == blosc_frame._UNCOMPRESSED
