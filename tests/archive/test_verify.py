"""What `verify` reports beside damage: files, links and folders that do not belong; a quick look.

That it finds every damage is tested in `test_damage.py`, what it says of archives that cannot be
read in `test_refusals.py`, and copies of one fact that disagree in `test_contradictions.py`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from archive_samples import archive, blobs, whole

from voxarray.archive.verify import verify
from voxarray.storage.store import TreeStore
from voxarray.storage.zip_store import ZipStore

SHARD = "scale0/image/c/0/0/0/0"


@pytest.fixture
def path(tmp_path) -> Path:
    return archive(tmp_path / "a.ome.zarr", blobs((1, 9, 5, 7)), chunk=2, levels=2)


def problems(path: Path) -> list[tuple[str, str]]:
    return [(problem.code, problem.where) for problem in verify(path)]


def test_linked_folders_are_reported(path, tmp_path):
    shutil.move(path / "scale1", tmp_path / "elsewhere")
    (path / "scale1").symlink_to(tmp_path / "elsewhere")
    assert ("SYMLINK", "scale1") in problems(path)


def test_an_extra_file_is_reported(path):
    (path / "scale0/notes.txt").write_text("hello")
    assert problems(path) == [("EXTRA_FILE", "scale0/notes.txt")]
    assert whole(path).any()  # and does no harm


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx"])
def test_a_quick_look_opens_nothing_but_the_manifest(tmp_path, monkeypatch, suffix):
    path = archive(tmp_path / f"a{suffix}", blobs((1, 9, 5, 7)), chunk=2, levels=2)
    opened = []
    for store in (TreeStore, ZipStore):
        original = store.open

        def counted(self, key, original=original):
            opened.append(key)
            return original(self, key)

        monkeypatch.setattr(store, "open", counted)
    assert verify(path, quick=True) == []
    assert set(opened) == {"manifest.json"}


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda file: file.unlink(), "MISSING_DATA"),
        (lambda file: os.truncate(file, 9), "BAD_SIZE"),
        (lambda file: (file.parent / "more").write_bytes(b"1"), "EXTRA_FILE"),
        (lambda file: (file.unlink(), file.symlink_to("elsewhere")), "SYMLINK"),
        (lambda file: (file.unlink(), file.mkdir()), "MISSING_DATA"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "BAD_SIZE"),
    ],
)
def test_a_quick_look_names_what_names_and_sizes_tell(path, harm, code):
    harm(path / SHARD)
    assert [problem.code for problem in verify(path, quick=True)] == [code]
