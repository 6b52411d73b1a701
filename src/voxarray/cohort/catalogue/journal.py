"""The log of a cohort: one file of lines for each process that writes; failures are synced at once.

Each process writes only into its own file, so that no lock is needed, on any file system. The name
of the file is random: in containers, host names and process ids are the same.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from typing import Any, Literal

from voxarray.cohort.plan.item import Failure
from voxarray.core import portable
from voxarray.core.disk import sync
from voxarray.storage import small_files
from voxarray.storage.folder_lock import random_identity
from voxarray.storage.remote.address import is_url
from voxarray.storage.remote.objects import Stamp
from voxarray.storage.remote.writing import WritableObjects
from voxarray.storage.small_files import names_in

BEGUN = "begun"
"""Status of an image whose conversion has started; if no other record follows, the process died."""

_How = Literal["noted", "kept", "synced"]

_SUFFIX = ".jsonl"
_BEGINNING = re.compile(rb'\{"slug": "([\w.-]*)"')
_LONG = 64 << 10
_OBJECTS_KEPT = 64
"""Objects of a journal whose lines stay in memory, so that they need not be fetched."""

_LARGEST = 1 << 62
_lock = threading.Lock()
_open: dict[str, Journal] = {}


class Journal:
    """The journal of this process for one cohort; its file is made with its first record."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._fd: int | None = None
        self._lock = threading.Lock()

    @staticmethod
    def of(folder: str) -> Journal:
        """The journal of this process in a folder; another process has another one."""
        kind = ObjectJournal if is_url(folder) else Journal
        with _lock:
            if folder not in _open:
                _open[folder] = kind(folder)
            return _open[folder]

    def append(self, record: dict[str, Any]) -> None:
        """Add a record with the time; it survives the end of the process.

        A failure also survives a power loss, since nothing else records it. A success is not
        synced: its archive proves it, and waiting for the disk once more would take as long as
        making a small archive.

        Raises:
            OSError: What the disk refuses.
        """
        self._write(record, "synced" if record.get("failure") is not None else "kept")

    def note(self, record: dict[str, Any]) -> None:
        """Add a record that nothing depends on: it may be lost with the power.

        Raises:
            OSError: What the disk refuses.
        """
        self._write(record, "noted")

    def _write(self, record: dict[str, Any], how: _How) -> None:
        line = _line(record)
        with self._lock:
            # A worker may outlive a cohort that is deleted and made again at the same place.
            if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
                self._close()
            if self._fd is None:
                self._fd = self._create()
            # A full disk may take only a part of the line, which readers then skip. The next record
            # begins another file: behind that part it would be skipped, too.
            if os.write(self._fd, line) != len(line):
                self._close()
                raise OSError(28, os.strerror(28), self._folder)
            if how == "synced":
                os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; the next record begins another one."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        # Even if the system refuses, as network file systems do on a full disk, the descriptor is
        # gone: its number soon belongs to another file, which would get the next lines.
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _create(self) -> int:
        os.makedirs(self._folder, exist_ok=True)
        path = os.path.join(self._folder, f"{random_identity()}{_SUFFIX}")
        # A file for each process: on NFS, appends of two machines to one file overwrite each other.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | portable.BINARY
        fd = os.open(path, flags, 0o644)
        # The folder, too: a power loss could remove the name of the file, and with it all lines
        # that were synced.
        sync(self._folder)
        return fd


class ObjectJournal(Journal):
    """The journal of this process for a cohort in a bucket, where objects cannot be appended to.

    The whole object is put again with new records, and a new one is begun when it is long. So a
    cohort needs few objects. Records that come while it is put go together with the next put: many
    images that end at once cost few requests. Notes are put with the next record.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._lines = b""
        self._name = ""
        self._size_put = 0
        self._putting = threading.Lock()
        self._waiting = 0
        self._count = self._count_put = self._count_failed = 0
        self._error: Exception | None = None
        self._objects = OrderedDict[str, tuple[bytes, Stamp]]()

    def as_put(self, name: str, stamp: Stamp) -> bytes | None:
        """The lines of an object that this journal has put; None unless its stamp is this one."""
        with self._lock:
            lines, last = self._objects.get(name, (b"", None))
        return lines if last == stamp and stamp.version else None

    def _write(self, record: dict[str, Any], how: _How) -> None:
        is_awaited = how != "noted"
        with self._lock:
            self._lines += _line(record)
            self._count += 1
            number = self._count
            self._waiting += is_awaited
        if not is_awaited:
            return
        try:
            with self._putting:  # one put after another: an earlier one must not come last
                if number <= self._count_put:
                    return  # one that began after this record came
                if number <= self._count_failed and self._error is not None:
                    raise self._error  # tried often enough, and not again for each of its records
                self._put()
        finally:
            with self._lock:
                self._waiting -= 1

    def _put(self) -> None:
        with self._lock:
            self._name = self._name or f"{random_identity()}{_SUFFIX}"
            name, lines, count = self._name, self._lines, self._count
        try:
            stamp = WritableObjects.at(self._folder).put(name, lines)
        except Exception as error:
            self._count_failed, self._error = count, error
            raise
        with self._lock:
            self._count_put, self._size_put, self._error = count, len(lines), None
            self._objects.pop(name, None)
            if stamp is not None:
                self._objects[name] = lines, stamp
            while len(self._objects) > _OBJECTS_KEPT:
                self._objects.popitem(last=False)
            if len(lines) > _LONG:
                self._begin_another()

    def close(self) -> None:
        """Begin another object with the next record."""
        with self._putting, self._lock:
            if not self._waiting:  # else somebody is about to put the others
                self._size_put = len(self._lines)
            self._begin_another()

    def _begin_another(self) -> None:
        self._lines, self._name, self._size_put = self._lines[self._size_put :], "", 0


def _line(record: dict[str, Any]) -> bytes:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return json.dumps({**record, "time": now}).encode() + b"\n"


def _forget_parents() -> None:
    """Drop the journals of the parent in the child of a fork, which opens its own."""
    global _lock
    _lock = threading.Lock()
    for journal in list(_open.values()):
        if journal._fd is not None:
            os.close(journal._fd)  # two processes on one descriptor would mix their lines
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)


def records(folder: str) -> Iterator[dict[str, Any]]:
    """Results of images, by all writers, oldest first, without lines that a crash cut short."""
    return (record for record in lines(folder) if record["status"] != BEGUN)


def records_of_failing(folder: str) -> Iterator[dict[str, Any]]:
    """As `records`, of those images alone of which a record may tell of a failure.

    Most lines tell of a start or of a success, and are not parsed.
    """
    journals = list(_journals(folder))
    telling = (
        line
        for data in journals
        if _may_tell_of_failure(data)
        for line in io.BytesIO(data)
        if _may_tell_of_failure(line)
    )
    failing = {record["slug"] for line in telling if (record := _parsed(line))}
    if not failing:
        return iter(())
    parsed = (
        record
        for data in journals
        for line in io.BytesIO(data)
        if _may_be_of(line, failing) and (record := _parsed(line))
    )
    return (record for record in _in_order(parsed) if record["status"] != BEGUN)


def lines(folder: str) -> Iterator[dict[str, Any]]:
    """As `records`, with the starts of attempts."""
    return _in_order(
        record
        for data in _journals(folder)
        for line in io.BytesIO(data)
        if (record := _parsed(line))
    )


def _journals(folder: str) -> Iterator[bytes]:
    if is_url(folder):
        yield from _journals_in_bucket(folder)
        return
    paths = [os.path.join(folder, name) for name in names_in(folder) if name.endswith(_SUFFIX)]
    yield from small_files.read_files(paths)


def _journals_in_bucket(folder: str) -> Iterator[bytes]:
    """As `_journals`; what this process has put, and nobody has changed, is not fetched."""
    with _lock:
        own = _open.get(folder)
    stamps = WritableObjects.at(folder).stamps()
    names = [name for name in sorted(stamps) if name.endswith(_SUFFIX) and "/" not in name]
    known = {
        name: lines
        for name in names
        if isinstance(own, ObjectJournal) and (lines := own.as_put(name, stamps[name])) is not None
    }
    others = small_files.read_files([f"{folder}/{name}" for name in names if name not in known])
    yield from (known[name] if name in known else next(others) for name in names)


def _in_order(parsed: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return iter(sorted(parsed, key=lambda record: str(record["time"])))


def _may_tell_of_failure(text: bytes) -> bool:
    """Whether a key ``failure`` in some lines has another value than null, or may be escaped."""
    has_value = text.count(b'"failure"') != text.count(b'"failure": null')
    return has_value or b"\\u" in text or b"\0" in text


def _may_be_of(line: bytes, slugs: Set[str]) -> bool:
    """Whether a line is of one of these images; of what no journal of ours begins with, True."""
    match = _BEGINNING.match(line)
    return match is None or match[1].decode() in slugs


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None if it was cut short, or is none that `Result.record` makes."""
    try:
        record = json.loads(line)
        return record if _is_record(record) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_record(record: dict[str, Any]) -> bool:
    """Whether each value is what readers take it for; errors say no, too.

    A single odd line, of a damaged disk or of another release, must not cost a whole cohort its
    catalogue. Keys that another release adds are no harm.
    """
    texts = [record["slug"], record["status"], record.get("key", ""), *record.get("remarks", ())]
    numbers = [record.get(name) for name in ("seconds", "peak", "voxel_bytes")]
    if record.get("failure") is not None:
        Failure.from_json(record["failure"])
    return (
        "time" in record
        and all(isinstance(text, str) for text in texts)
        and all(number is None or _is_number(number) for number in numbers)
    )


def _is_number(value: Any) -> bool:
    """Whether a table can hold it as a number of 64 bits."""
    return isinstance(value, int | float) and -_LARGEST <= value <= _LARGEST
