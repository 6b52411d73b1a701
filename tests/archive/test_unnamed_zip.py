"""The zip of a small image has no name before it is whole, where the file system allows that."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from archive_samples import blobs, same_bits, whole

from voxarray.archive import unnamed_zip
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.verify import verify
from voxarray.core import portable
from voxarray.core.errors import ArchiveError, ArchiveExistsError
from voxarray.source.array import ArraySource
from voxarray.storage import unnamed_file

VOXELS = blobs((1, 12, 9, 30))


def save(path, **options) -> None:
    convert(ArraySource(VOXELS, np.eye(4)), path, options=Options(chunk=4), **options)


def refuse_every_link(*_, **__):
    raise OSError(errno.ENOENT, "no /proc here")


@pytest.fixture(params=["no such file", "no name", "no such system"])
def without_unnamed_files(request, monkeypatch):
    if request.param == "no such system":
        monkeypatch.setattr(unnamed_file, "_UNNAMED", 0)
    elif request.param == "no name":
        monkeypatch.setattr(os, "link", refuse_every_link)
    else:
        opened = os.open

        def refusing(path, flags, *rest, **options):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return opened(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refusing)


def test_nothing_has_a_name_before_it_is_whole(tmp_path, monkeypatch):
    steps = []
    for owner, name in ((os, "fsync"), (portable, "preadv"), (os, "link")):
        original = getattr(owner, name)

        def step(*arguments, original=original, name=name, **options):
            steps.append((name, os.listdir(tmp_path)))
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, step)
    save(tmp_path / "a.ozx")
    assert steps == [("fsync", []), ("preadv", []), ("link", []), ("fsync", ["a.ozx"])]
    assert same_bits(whole(tmp_path / "a.ozx"), VOXELS)


def test_the_same_bytes_are_written_where_files_have_names(
    tmp_path, monkeypatch, without_unnamed_files
):
    path = tmp_path / "a.ozx"
    save(path)
    assert os.listdir(tmp_path) == ["a.ozx"]
    assert verify(path) == []
    monkeypatch.undo()
    save(tmp_path / "b.ozx")
    assert (tmp_path / "b.ozx").read_bytes() == path.read_bytes()
    assert (tmp_path / "b.ozx").stat().st_mode == path.stat().st_mode


def test_what_appears_at_the_last_moment_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.ozx"
    with pytest.raises(ArchiveExistsError):
        save(path, confirm=lambda: path.write_text("precious"))
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["a.ozx"]


def test_who_objects_at_the_last_moment_is_heard(tmp_path, without_unnamed_files):
    def object_to_it() -> None:
        assert not (tmp_path / "new" / "a.ozx").exists()
        raise ArchiveError("no", code="IO_ERROR")

    with pytest.raises(ArchiveError, match="no"):
        save(tmp_path / "new" / "a.ozx", confirm=object_to_it)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "number"), [("write", errno.ENOSPC), ("fsync", errno.EIO)])
def test_a_disk_that_refuses_leaves_nothing(tmp_path, monkeypatch, name, number):
    def refusing(*_):
        raise OSError(number, os.strerror(number))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, name, refusing)
    with pytest.raises(ArchiveError, match="nothing was changed there") as caught:
        save(tmp_path / "new" / "a.ozx")
    monkeypatch.undo()
    assert caught.value.code == ("NO_SPACE" if number == errno.ENOSPC else "IO_ERROR")
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_bytes_that_read_back_otherwise_get_no_name(tmp_path, monkeypatch):
    original = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: original(fd, bytes(data)[:-1] + b"?"))
    with pytest.raises(ArchiveError) as caught:
        save(tmp_path / "a.ozx")
    assert caught.value.code == "VERIFY_FAILED"
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_not_synced_is_said(tmp_path, monkeypatch):
    done, original = [], os.fsync

    def refusing(fd):
        done.append(fd)
        if len(done) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        original(fd)

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(ArchiveError) as caught:
        save(tmp_path / "a.ozx")
    assert caught.value.code == "NOT_SYNCED"
    assert same_bits(whole(tmp_path / "a.ozx"), VOXELS)


def test_a_name_too_long_to_be_replaced_is_refused(tmp_path):
    name = "x" * (unnamed_zip._LONGEST - 4)
    for overwrite in (False, True):
        convert(
            ArraySource(VOXELS, np.eye(4)),
            tmp_path / f"{name}.ozx",
            options=Options(chunk=4, overwrite=overwrite),
        )
    with pytest.raises(ArchiveError, match="shorten the name"):
        save(tmp_path / f"x{name}.ozx")
