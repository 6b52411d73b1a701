"""Headers that lie: whatever stands in them, only our own errors come out, soon and cheaply."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lying_headers import SAMPLES, Attack, attempt

KINDS = ["byte", "number", "number", "word", "word", "line", "stretch", "cut"]

CHANGES = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 1 << 16), st.integers(0, 1 << 10)),
    min_size=1,
    max_size=4,
)

ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
def attack(request, tmp_path):
    return Attack(request.param, tmp_path)


@pytest.mark.parametrize("attack", SAMPLES, indirect=True)
@given(changes=CHANGES)
@example(changes=[("cut", 0, 0)])
@settings(max_examples=20, suppress_health_check=ALLOWED)
def test_changed_headers(attack, changes):
    attack.lie(changes)


@pytest.mark.slow
@pytest.mark.parametrize("attack", SAMPLES, indirect=True)
@given(changes=CHANGES)
@settings(max_examples=5000, suppress_health_check=ALLOWED)
def test_many_changed_headers(attack, changes):
    attack.lie(changes)


FOUND = {
    "axes of OME-Zarr that are no objects": ("zarr_ome_05", [("byte", 10866, 235)]),
    "chunks without a voxel": ("zarr_plain", [("number", 4106, 248)]),
    "chunks without a voxel, version 2": ("zarr_ome_04_array", [("word", 6967, 440)]),
    "an affine of uneven rows": ("archive", [("number", 30398, 310), ("number", 5608, 616)]),
    "attributes cut off": ("archive", [("line", 46212, 571), ("cut", 2907, 124)]),
    "labels that are text": ("archive", [("stretch", 29109, 66), ("cut", 37885, 698)]),
    "a type that is no text": ("archive", [("word", 12810, 256)]),
    "a codec that is nothing": ("archive_array", [("number", 36515, 696)]),
    "settings of a codec that are a list": ("archive_array", [("stretch", 27313, 1001)]),
    "a chunk of PNG of 84 MB": ("png", [("byte", 33, 5)]),
    "a TIFF of no width": ("tiff_tiles", [("byte", 70, 1), ("number", 9, 0)]),
}


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found(tmp_path, what):
    name, changes = FOUND[what]
    Attack(name, tmp_path).lie(changes)


def test_an_analyze_image_of_one_axis(tmp_path):
    """Found by atheris."""
    attack = Attack("analyze", tmp_path)
    assert attack(attack.data[:40] + (1).to_bytes(2, "little") + attack.data[42:]) is None


def test_an_afni_data_set_of_many_volumes(tmp_path):
    """Found by atheris: nibabel makes a factor for each, before anything compares with the file."""
    attack = Attack("afni", tmp_path)
    text = attack.data.decode()
    start = text.index("DATASET_RANK")
    rank = text[start:].split("\n")[2].split()
    lying = text[:start] + text[start:].replace(rank[1], "24294967296", 1)
    assert attack(lying.encode()).code in ("TRUNCATED", "DIMS_EXCEED_FILE")


@pytest.mark.parametrize(("field", "numbers"), [("RANK", "2 4"), ("DIMENSIONS", "47 54")])
def test_an_afni_data_set_of_planes(tmp_path, field, numbers):
    """Found by atheris; four planes in a file of 43 would have been read as one volume."""
    attack = Attack("afni", tmp_path)
    text = attack.data.decode()
    for name, values in (("DELTA", "-3 -3"), (f"DATASET_{field}", numbers)):
        start, rest = text.split(f"name  = {name}" if name == "DELTA" else f"name = {name}")
        _, end = rest.split("\n\n", 1)
        text = f"{start}name = {name}\ncount = 2\n {values}\n\n{end}"
    assert attack(text.encode()).code == "BAD_DIMS"


def test_an_afni_data_set_that_lacks_a_factor(tmp_path):
    """AFNI takes those that are missing for 0, nibabel for 1."""
    attack = Attack("afni", tmp_path)
    text = attack.data.decode().replace("\n 3 1 0", "\n 3 2 0").replace("47 54 43", "47 27 43")
    assert attack(text.encode()).code == "BAD_SCALE"


@pytest.mark.parametrize("number", [-256, 2**31 - 1])
def test_every_number_of_a_netcdf_header(tmp_path, number):
    """Found by atheris: a variable before the beginning of the file."""
    attack = Attack("minc_1", tmp_path)
    lie = number.to_bytes(4, "big", signed=True)
    codes = set()
    for at in range(4, 1000, 4):
        refusal = attack(attack.data[:at] + lie + attack.data[at + 4 :])
        codes.add(refusal and refusal.code)
    assert {"BAD_HEADER", "BAD_OFFSET" if number < 0 else "TRUNCATED"} <= codes


def test_a_dicom_header_that_does_not_end(tmp_path):
    """Zeros are elements without a value: a GB of them took minutes."""
    attack = Attack("dicom", tmp_path)
    start = attack.data[: attack.data.index(b"\xe0\x7f\x10\x00")]
    refusal = attack(start + bytes(1 << 20))
    assert refusal.code == "BAD_HEADER"
    assert "too many elements: at least 20001 outside of sequences" in str(refusal)
    assert "too long" not in str(refusal)


@pytest.mark.parametrize(("limit", "most"), [("_MOST_ELEMENTS", 40), ("_MOST_KEPT", 20)])
def test_dicom_sequences_that_do_not_end(tmp_path, monkeypatch, limit, most):
    attack = Attack("dicom_enhanced", tmp_path)
    monkeypatch.setattr(f"voxarray.formats.dicom.elements.{limit}", most)
    assert attack(attack.data).code == "BAD_HEADER"


def test_a_dicom_value_without_end(tmp_path):
    attack = Attack("dicom", tmp_path)
    start = attack.data[: attack.data.index(b"\x08\x00\x60\x00")]
    long = b"\x08\x00\x60\x00UT\x00\x00" + (100 << 20).to_bytes(4, "little")
    (tmp_path / "a.dcm").write_bytes(start + long)
    with open(tmp_path / "a.dcm", "r+b") as file:
        file.truncate(len(start + long) + (101 << 20))  # a hole: it takes no space
    refusal = attempt(tmp_path / "a.dcm")
    assert refusal.code == "BAD_HEADER"
    assert f"an element that is too long: {100 << 20} bytes" in str(refusal)
    assert "too many" not in str(refusal)


def test_a_tiff_of_pages_without_end(tmp_path):
    pages = 120_000
    body = b"".join(b"\0\0" + (8 + 6 * (n + 1)).to_bytes(4, "little") for n in range(pages))
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + body + bytes(6))
    assert attempt(tmp_path / "a.tif").code == "BAD_HEADER"
