"""A small file that is put where there is none, by one of several at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from voxarray.core.errors import VoxarrayError
from voxarray.storage.small_files import create_file


def test_one_of_many_creates_it(tmp_path):
    for round_ in range(20):
        path, gate = str(tmp_path / f"{round_}.json"), Barrier(6)

        def put(text, path=path, gate=gate):
            gate.wait()
            return create_file(path, text), text

        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(put, [b"%d" % n for n in range(6)]))
        (winner,) = [text for made, text in done if made]
        with open(path, "rb") as file:
            assert file.read() == winner
    assert len(os.listdir(tmp_path)) == 20  # nothing hidden is left


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    path = str(tmp_path / "a.json")
    assert create_file(path, b"1")
    assert not create_file(path, b"2")
    assert (tmp_path / "a.json").read_bytes() == b"1"


def test_what_the_disk_refuses_has_a_name(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VoxarrayError):
        create_file(str(tmp_path / "file/a.json"), b"1")
