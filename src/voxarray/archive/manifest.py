"""The manifest: what makes an archive whole.

``manifest.json`` is written last. It names every file with its size and digest, says what the
archive was made from, and carries the digest of itself. An archive of ours without it was not
finished, and is not opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NoReturn

from voxarray.archive.digests import DIGITS, digest_of, digest_of_blob
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import ArchiveError, ChecksumError, FormatError, MissingDataError
from voxarray.storage.store import Store

KEY = "manifest.json"
FORMAT = "voxarray-manifest"
VERSION = 2

BEGINNING = f'{{"format":"{FORMAT}"'.encode()
_SEALS = {1: "crc32c", 2: "digest"}
"""Last key of the document, by version: the digest of all before it."""

_DEEPEST = 32
"""How deep lists and objects in ``source`` may be nested: programs that read it may recurse."""

_PART = r"(?!\.\.?(?:/|$))[^/\\\0]+"
_IS_KEY = re.compile(rf"{_PART}(?:/{_PART})*", re.DOTALL)
_IS_DIGEST = {version: re.compile(f"[0-9a-f]{{{n}}}") for version, n in DIGITS.items()}
_LARGEST = 1 << 63
_SHORT = 200
"""Letters up to which the check of a name is cached."""

_FORM: dict[str, Any] = {"separators": (",", ":"), "ensure_ascii": True, "allow_nan": False}
"""Canonical JSON refuses NaN and infinity, as the decoder below does: it can be read."""

_ENCODER = json.JSONEncoder(**_FORM)
_OF_DECODED = json.JSONEncoder(**_FORM, check_circular=False)
"""For what was decoded, in which nothing can hold itself: to look for that takes as long again."""


def is_published(store: Store) -> bool:
    """Whether a store has a manifest that voxarray wrote; other programs use the file name, too."""
    return store.begins(KEY, BEGINNING)


def is_key(name: object) -> bool:
    """Whether ``name`` can be a key of an archive: it stays in its folder and is valid Unicode."""
    if not isinstance(name, str):
        return False
    return _is_known_key(name) if len(name) <= _SHORT else _is_key(name)


@lru_cache(maxsize=256)  # the archives of a cohort have mostly the same keys
def _is_known_key(name: str) -> bool:
    return _is_key(name)


def _is_key(name: str) -> bool:
    if not _IS_KEY.fullmatch(name):
        return False
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the archive.

    Attributes:
        size: Bytes.
        digest: Of all its bytes, in hexadecimal digits.
        tail: Digest of the last bytes of a shard, which state offsets and checksums of its chunks;
            None for other files, and for shards of version 1.
    """

    size: int
    digest: str
    tail: str | None = None

    @classmethod
    def of(cls, data: bytes, tail: int = 0) -> FileEntry:
        """Entry of a file in memory.

        Args:
            data: Its bytes.
            tail: How many of them, at the end, are the tail of a shard; 0 for other files.
        """
        end = digest_of(memoryview(data)[-tail:]) if tail else None
        return cls(len(data), digest_of(data), end)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of an archive except the manifest itself, and where the voxels came from.

    Attributes:
        files: Entry of each key.
        source: Facts about the source that identify nobody: size, sha256.
        version: Of the format.
        generation: How often the archive was changed since it was made.
        previous: Digest of the manifest of the generation before; None for the first.
        base: Digest of the manifest of generation 0; None in that manifest.
        metadata: Notes that were added after the archive was made; JSON.
    """

    files: Mapping[str, FileEntry]
    source: Mapping[str, Any]
    version: int = VERSION
    generation: int = 0
    previous: str | None = None
    base: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The file, of which the digest is the last key."""
        return _sealed(self._content())

    @property
    def digest(self) -> str:
        """Digest of this manifest."""
        return digest_of(_dump(self._content()), self.version)

    @property
    def identity(self) -> str:
        """Digest that all generations of an archive share, and no other archive has."""
        return self.base or self.digest

    def _content(self) -> dict[str, Any]:
        files = {
            key: [part for part in (entry.size, entry.digest, entry.tail) if part is not None]
            for key, entry in sorted(self.files.items())
        }
        content: dict[str, Any] = {"format": FORMAT, "version": self.version}
        if self.version > 1:
            content |= {"generation": self.generation, "previous": self.previous, "base": self.base}
        if self.metadata:
            content["metadata"] = dict(self.metadata)
        return {**content, "source": dict(self.source), "files": files}

    def successor(
        self,
        files: Mapping[str, FileEntry],
        metadata: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """The manifest of the next generation.

        Args:
            files: All files of the next generation.
            metadata: All notes; None leaves them as they are.
            source: New facts about the source, by key; the others stay as they are.

        Raises:
            FormatError: If the metadata are not what a manifest holds (``BAD_METADATA``).
        """
        notes = self.metadata if metadata is None else metadata
        if not _is_shallow(notes):
            raise FormatError(
                f"the notes of an archive (see add_notes) may have at most {_DEEPEST} levels of "
                "lists and dicts inside each other, but these have more: nest them less deeply",
                code="BAD_METADATA",
            )
        return replace(
            self,
            files=files,
            source={**self.source, **(source or {})},
            generation=self.generation + 1,
            previous=self.digest,
            base=self.identity,
            metadata=notes,
        )

    @classmethod
    def read(cls, store: Store) -> Manifest:
        """The manifest of a store.

        Raises:
            MissingDataError: If there is none: the archive was never finished. Code
                ``NO_MANIFEST``.
            ChecksumError: If it is not the one that was written.
            ArchiveError: If it is of a version that this voxarray does not know; code
                ``UNKNOWN_VERSION``.
            FormatError: If its digest is right and yet it is no manifest; code ``BAD_METADATA``.
        """
        if KEY not in store:
            raise MissingDataError(
                f"{store.path} has no {KEY}: its conversion did not finish or it was not copied "
                f"whole; copy it again, or {MAKE_AGAIN}",
                code="NO_MANIFEST",
                path=store.path,
            )
        return cls.parse(store.read(KEY), store.path)

    @classmethod
    def parse(cls, raw: bytes, path: str) -> Manifest:
        """The manifest in the bytes of ``manifest.json``.

        Raises:
            VoxarrayError: As `read`.
        """
        content = _loaded(raw)
        if content is None:
            raise _unsealed(path)
        version = content.get("version")
        if isinstance(version, bool) or not isinstance(version, int):
            _refuse(path, f"the version {version!r:.40}")
        if version not in _SEALS:
            raise ArchiveError(
                f"{path} has a list of files (manifest.json) of version {version}, but this "
                f"voxarray reads versions 1 to {VERSION}: install the version of voxarray that "
                "wrote it, or a newer one",
                code="UNKNOWN_VERSION",
                path=path,
            )
        if not _is_sealed(content, raw):
            raise _unsealed(path)
        return _parsed(content, version, path)

    def checked(self, store: Store, key: str) -> bytes:
        """Bytes of a small file, compared with its entry."""
        data = store.read(key)
        self._require(key, len(data), digest_of(data, self.version), store.path)
        return data

    def check(self, store: Store, key: str) -> None:
        """Read a file of any size and compare it with its entry."""
        with store.open(key) as blob:
            size, digest = digest_of_blob(blob, self.version)
        self._require(key, size, digest, store.path)

    def entry(self, key: str, path: str) -> FileEntry:
        """Entry of a file.

        Raises:
            MissingDataError: If there is none.
        """
        if key not in self.files:
            raise MissingDataError(
                f"the list of files of {path} (manifest.json) does not name {key}: restore the "
                f"archive, or {MAKE_AGAIN}",
                path=path,
            )
        return self.files[key]

    def shard(self, key: str, path: str) -> FileEntry:
        """Entry of a shard, with the digest of its tail, except in version 1.

        Raises:
            MissingDataError: If there is no entry.
            FormatError: If it has no digest of the tail (``BAD_METADATA``).
        """
        entry = self.entry(key, path)
        if entry.tail is None and self.version > 1:
            _refuse(path, f"no digest of the tail of the shard {key}")
        return entry

    def _require(self, key: str, size: int, digest: str, path: str) -> None:
        """Raise `ChecksumError` unless a file has the size and digest that were written."""
        entry = self.entry(key, path)
        if (entry.size, entry.digest) != (size, digest):
            raise ChecksumError(
                f"{key} of {path} has {size} bytes and the digest {digest}, but {entry.size} bytes "
                f"with the digest {entry.digest} were written: restore it, or {MAKE_AGAIN}",
                path=path,
            )


def _loaded(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in some bytes; None if they hold none."""
    try:
        content = _DECODER.decode(raw.decode(json.detect_encoding(raw), "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
"""Made once: with ``parse_constant``, `json.loads` would make a decoder for each text."""


def _dump(content: Mapping[str, Any], encoder: json.JSONEncoder = _ENCODER) -> bytes:
    """Canonical JSON."""
    return encoder.encode(content).encode()


def _sealed(content: Mapping[str, Any], encoder: json.JSONEncoder = _ENCODER) -> bytes:
    """Canonical JSON of the content, with the digest of that JSON as its last key."""
    version = content.get("version", VERSION)
    seal = _SEALS[version]
    body = _dump({key: value for key, value in content.items() if key != seal}, encoder)
    return body[:-1] + b',"%s":"%s"}' % (seal.encode(), digest_of(body, version).encode())


def _is_sealed(content: Mapping[str, Any], raw: bytes) -> bool:
    try:
        return _sealed(content, _OF_DECODED) == raw
    except (ValueError, RecursionError):
        return False


def _parsed(content: Mapping[str, Any], version: int, path: str) -> Manifest:
    expected = {"format", "version", "source", "files", _SEALS[version]}
    if version > 1:
        expected |= {"generation", "previous", "base"}
    if set(content) - {"metadata"} != expected or (version == 1 and "metadata" in content):
        _refuse(path, f"the keys {sorted(content)!r:.200} instead of {sorted(expected)}")
    if content["format"] != FORMAT:
        _refuse(path, f"the format {content['format']!r:.40}")
    source, files = content["source"], content["files"]
    if not isinstance(source, dict) or not _is_shallow(source):
        _refuse(path, "a source that is not an object, or is nested too deeply")
    if not isinstance(files, dict):
        _refuse(path, "files that are not an object")
    entries = {key: _entry(key, value, version, path) for key, value in files.items()}
    if version == 1:
        return Manifest(entries, source, 1)
    metadata = content.get("metadata", {})
    if not isinstance(metadata, dict) or not _is_shallow(metadata):
        _refuse(path, "metadata that are not an object, or are nested too deeply")
    generation, previous, base = (content[key] for key in ("generation", "previous", "base"))
    if not _is_count(generation):
        _refuse(path, f"the generation {generation!r:.40}")
    for name, digest in (("previous", previous), ("base", base)):
        if (digest is None) != (generation == 0) or not (digest is None or _is_digest(digest, 2)):
            _refuse(path, f"generation {generation} with {name} {digest!r:.40}")
    return Manifest(entries, source, version, generation, previous, base, metadata)


def _entry(key: str, value: object, version: int, path: str) -> FileEntry:
    if not is_key(key) or key == KEY:
        _refuse(path, f"{key!r:.80}, which cannot be the name of a file in an archive")
    longest = 2 if version == 1 else 3
    if not isinstance(value, list) or not 2 <= len(value) <= longest:
        _refuse(path, f"{value!r:.80} for {key!r:.80}")
    try:
        return _made(version, *value)
    except (TypeError, ValueError):  # TypeError also of values that the cache cannot hash
        _refuse(path, f"{value!r:.120} for {key!r:.80}")


@lru_cache(maxsize=256, typed=True)  # scans on one grid share many small files
def _made(version: int, size: int, *digests: str) -> FileEntry:
    if not _is_count(size) or not all(_is_digest(digest, version) for digest in digests):
        raise ValueError("neither a size nor digests")
    return FileEntry(size, *digests)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_digest(value: object, version: int) -> bool:
    return isinstance(value, str) and _IS_DIGEST[version].fullmatch(value) is not None


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            member
            for inner in level
            if isinstance(inner, (dict, list))
            for member in (inner.values() if isinstance(inner, dict) else inner)
        ]
        if not level:
            return True
    return False


def _unsealed(path: str) -> ChecksumError:
    return ChecksumError(
        f"the list of files of {path} (manifest.json) is not the one that was written: restore "
        f"the archive, or {MAKE_AGAIN}",
        path=path,
    )


def _refuse(path: str, seen: str) -> NoReturn:
    raise FormatError(
        f"the list of files of {path} (manifest.json) has a valid digest, but content that no "
        f"version of voxarray writes: {seen}. Restore the archive, or {MAKE_AGAIN}",
        code="BAD_METADATA",
        path=path,
    )
