"""Headers that lie: whatever stands in them, only our own errors come out, soon and cheaply."""

from __future__ import annotations

import math
import time
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from header_samples import everything, numbers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from voxarray.errors import VoxarrayError, VoxarrayWarning
from voxarray.image.saving import save
from voxarray.lps import ras_from_itk
from voxarray.sources.array import ArraySource
from voxarray.sources.registry import open_source

AFFINE = ras_from_itk([2, 3, 4], [5, 6, 7], np.eye(3).ravel())
PLANE = ras_from_itk([1, 1, 1], [0, 0, 0], np.eye(3).ravel())
DATA = Path(nib.__file__).parent / "tests/data"

# suffix of the file that is changed -> bytes of its beginning that may be
FORMATS = {
    ".nrrd": 400, ".nhdr": 400, ".mha": 400, ".mhd": 400, ".hdr": 348, ".mgh": 90, ".mgz": 200,
    ".gipl": 256, ".vtk": 260, ".npy": 128, ".png": 60, ".jpg": 300, ".bmp": 60, ".tif": 400,
    ".h5": 4000, ".PAR": 6000, ".HEAD": 3000, ".mnc": 4000, "1.mnc": 4000,
}  # fmt: skip

BORROWED = {".PAR": "phantom_varscale", ".HEAD": "scaled+tlrc", "1.mnc": "tiny", ".mnc": "small"}

NASTY = [
    *(b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e308", b"1e-308", b"32767", b"2147483647"),
    *(b"4294967296", b"99999999999999999999", b"", b"none", b"(nan,0,0)", b"(0,0,0)", b"LIST"),
    *(b"/etc/passwd", b"../../../../etc/passwd", b"\x00", b"%s%n", b"True", b"gzip", b"raw"),
]

LARGEST_READ = 4 << 20
LARGEST_PEAK = 64 << 20
LONGEST = 5.0


def valid(folder, suffix):
    """A valid file, whose header is to be changed, and what stands beside it."""
    if suffix in BORROWED:
        for path in DATA.glob(f"{BORROWED[suffix]}.*"):
            (folder / f"a{path.suffix}").write_bytes(path.read_bytes())
        return folder / f"a{suffix[-4:] if suffix.endswith('.mnc') else suffix}"
    path = folder / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, numbers((4, 5, 6)))
    else:
        is_picture = suffix in (".png", ".jpg", ".bmp")
        shape = (3, 4, 5, 1) if is_picture else (1, 4, 5, 6)
        array = numbers(shape, "u1" if is_picture else "i2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VoxarrayWarning)
            save(ArraySource(array, AFFINE), path, label=False, overwrite=True)
    return path


def changed(data, header, changes):
    """A file with some bytes, words or stretches of its header replaced."""
    start, rest = bytearray(data[:header]), data[header:]
    for kind, place, value in changes:
        if not start:
            break
        at = place % len(start)
        if kind == "byte":
            start[at] = value
        elif kind == "word":
            words = bytes(start).split(b" ")
            words[place % len(words)] = NASTY[value % len(NASTY)]
            start = bytearray(b" ".join(words))
        elif kind == "number":
            start[at : at + 4] = (0x7FFFFFFF, 0, 0xFFFFFFFF, 0x7FC00000)[value % 4].to_bytes(
                4, "big"
            )
        elif kind == "line":
            lines = bytes(start).split(b"\n")
            line = lines.pop(place % len(lines))
            if value % 2:
                lines.insert(value % len(lines) if lines else 0, line)
            start = bytearray(b"\n".join(lines))
        else:
            start, rest = bytearray((bytes(start) + rest)[: (place * 7) % (len(data) + 1)]), b""
    return bytes(start) + rest


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["byte", "byte", "word", "word", "number", "line", "cut"]),
        st.integers(0, 1 << 16),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def attack(path, data):
    path.write_bytes(data)
    tracemalloc.start()
    started = time.monotonic()
    refusal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = open_source(path)
            opened_at = tracemalloc.get_traced_memory()[1]
            if math.prod(source.shape) * source.dtype.itemsize <= LARGEST_READ:
                assert everything(source).shape == source.shape
            assert np.isfinite(source.affine).all()
            assert np.linalg.det(source.affine) != 0
    except VoxarrayError as error:
        refusal, opened_at = error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refusal is None or refusal.code != "ERROR"
    assert opened_at <= LARGEST_PEAK
    assert time.monotonic() - started <= LONGEST


def fuzz(folder, suffix, changes):
    path = valid(folder, suffix)
    attack(path, changed(path.read_bytes(), FORMATS[suffix], changes))


ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("suffix", FORMATS)
@given(changes=CHANGES)
@example(changes=[("cut", 0, 0)])
@settings(max_examples=60, deadline=None, suppress_health_check=ALLOWED)
def test_changed_headers(tmp_path, suffix, changes):
    fuzz(tmp_path, suffix, changes)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
@given(changes=CHANGES)
@settings(max_examples=5000, deadline=None, suppress_health_check=ALLOWED)
def test_many_changed_headers(tmp_path, suffix, changes):
    fuzz(tmp_path, suffix, changes)
