"""The zip of a small archive is the very bytes that Python's own library writes."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive import zip_file
from voxarray.archive.zip_bytes import zip_bytes


def by_library(members: list[tuple[str, bytes]], comment: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for key, data in members:
            archive.writestr(zipfile.ZipInfo(key, (1980, 1, 1, 0, 0, 0)), data)
        archive.comment = comment
    return packed.getvalue()


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_bytes_are_those_of_the_library(count: int) -> None:
    rng = np.random.default_rng(count)
    members = [
        (f"labels/Läsion {n}/c/0" if n % 3 else f"a/{n}", rng.bytes(int(rng.integers(0, 3000))))
        for n in range(count)
    ]
    comment = b"a comment"
    assert zip_bytes(members, len(comment)) + comment == by_library(members, comment)


@pytest.mark.parametrize("limit", ["MOST_MEMBERS", "MOST_BYTES"])
def test_an_archive_beyond_these_headers_is_packed_by_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    image = vx.ScalarImage(tensor=np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5))
    image.save(tmp_path / "usual.ozx")
    monkeypatch.setattr(zip_file, limit, 3)
    monkeypatch.setattr(zip_file, "zip_bytes", None)
    image.save(tmp_path / "large.ozx")
    assert (tmp_path / "large.ozx").read_bytes() == (tmp_path / "usual.ozx").read_bytes()
    assert not vx.verify(tmp_path / "large.ozx")
