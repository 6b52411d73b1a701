"""Which module opens and writes which file.

The formats that come with voxarray stand in a table (`voxarray.formats.table`) and are imported
when they are needed. Other packages add theirs with entry points of the group ``voxarray.formats``,
whose values are `Format` records::

    [project.entry-points."voxarray.formats"]
    xyz = "my_package.xyz:FORMAT"

The group ``voxarray.sources`` of release 0.1 is still read: there the name is a suffix without its
first dot, and the value a callable that takes the path and returns a `Source`. An entry that cannot
be loaded, or that names a suffix which is taken, is named in a warning and left out; the others
work.
"""

from __future__ import annotations

import importlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from voxarray.core.errors import FormatError, UnsupportedError, VoxarrayError, of_system
from voxarray.core.given_paths import path_text
from voxarray.formats.dicom.detect import is_dicom, is_dicom_folder
from voxarray.formats.packed_files import unpacking_hint
from voxarray.formats.plugins import added_formats
from voxarray.formats.record import Format
from voxarray.formats.suffixes import is_inside_zip, names_label_map, suffix_of
from voxarray.formats.table import FORMATS
from voxarray.source.base import Source
from voxarray.storage.file_identity import FileIdentity, explained, require_open_folder
from voxarray.storage.remote.address import Address, as_local, is_url

_DICOM = "voxarray.formats.dicom.read:open_dicom"
_ZARR = "voxarray.formats.zarr.read:open_zarr"
_ZARR_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")  # Zarr 3, and 2

_LOG = logging.getLogger(__name__)

Opener = Callable[[str], Source]


def open_source(path: str | os.PathLike[str]) -> Source:
    """The image in a file or archive, as a `Source`; only its header or metadata are read.

    Examples:
        >>> scan = vx.testing.sample()
        >>> scan.save("scan.nii.gz")
        >>> source = vx.open_source("scan.nii.gz")
        >>> source.shape, source.dtype
        ((1, 64, 56, 48), dtype('int16'))

    Args:
        path: Local path, URL, or a ``zarr.abc.store.Store``.

    Raises:
        MissingFileError: There is nothing at ``path``.
        UnsupportedError: If no format reads such files (``UNKNOWN_SUFFIX``, ``UNKNOWN_DIRECTORY``).
        FormatError: If the file is damaged, or not of the format that its name says.
        AccessDeniedError: If the system or a server does not let this user read.
        TransportError: A server or a disk does not answer (``IO_ERROR`` for a disk).
    """
    if not isinstance(path, str | os.PathLike) and _is_zarr_store(path):
        opener: Any = load("voxarray.formats.remote.opening:open_store_object")
        store: Source = opener(path)
        return store
    text = as_local(path_text(path))
    if is_url(text):
        return _open_url(text)
    try:
        opener = _opener(text)
        _LOG.debug("opening %r with %s", text, opener.__module__)
        source: Source = opener(text)
        return source
    except FormatError as error:
        detailed = explained(error, text) if os.path.isfile(text) else error
        if detailed is error:
            raise
        raise detailed from error
    except VoxarrayError:
        raise
    except OSError as error:
        raise of_system(error, text) from error


def _is_zarr_store(value: object) -> bool:
    from voxarray.storage.remote.zarr_objects import is_zarr_store  # loads what reads buckets

    return is_zarr_store(value)


def _open_url(url: str) -> Source:
    opener: Any = load("voxarray.formats.remote.opening:open_url")
    suffix = suffix_of(Address.parse(url).path or "/")
    # What other packages add is looked for where that matters: it takes milliseconds.
    opened: Source = opener(url, suffix, suffix in BY_SUFFIX, known_suffixes, open_source)
    return opened


def _opener(path: str) -> Opener:
    suffix, mode = suffix_of(path), _mode_of(path)
    if stat.S_ISDIR(mode):
        # A store that lost its zarr.json is still an archive, and its reader says what is wrong.
        if suffix.endswith(".zarr") or is_zarr_folder(path):
            return load(_ZARR)
        if is_dicom_folder(path):
            return load(_DICOM)
        require_open_folder(path)
        raise UnsupportedError(
            f"the directory {path} is not a Zarr archive (it holds no {_ZARR_MARKERS[0]}), and it "
            "holds no DICOM files: give the path of a file, an archive, or the folder of one series"
            + (
                "; it looks like a cohort, whose images vx.Cohort(path) gives"
                if os.path.isdir(os.path.join(path, "subjects"))
                else ""
            ),
            code="UNKNOWN_DIRECTORY",
            path=path,
        )
    if is_inside_zip(path) or (mode == 0 and names_label_map(path)):
        return load(_ZARR)
    if not stat.S_ISREG(mode):
        FileIdentity.of(path)  # says what it is
    file_format = BY_SUFFIX.get(suffix)
    if file_format is not None and file_format.open is not None:
        return load(file_format.open)
    if is_dicom(path):  # whose names may be anything
        return load(_DICOM)
    known_format = format_of(path)
    if known_format is None:
        hint = unpacking_hint(path) or f"known suffixes are {', '.join(known_suffixes())}"
        raise UnsupportedError(
            f"voxarray reads no files that end in {suffix!r} ({path}): {hint}",
            code="UNKNOWN_SUFFIX",
            path=path,
        )
    return load(str(known_format.open))


def _mode_of(path: str) -> int:
    """What is at a path; 0 if nothing is, or nobody can tell."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):  # such as a null byte
        return 0


def is_zarr_folder(folder: str) -> bool:
    """Whether a folder is a Zarr group or array, of version 2 or 3."""
    return any(os.path.exists(os.path.join(folder, name)) for name in _ZARR_MARKERS)


def is_image_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is one image by its name or looks: an archive, or Zarr of any version."""
    return names_archive(path) or (os.path.isdir(path) and is_zarr_folder(os.fspath(path)))


def load(reference: str) -> Callable[..., Any]:
    """The function that is named as ``"module:function"``."""
    module, name = reference.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


# --- The table, and what other packages add to it -----------------------------------------------

BY_SUFFIX: Mapping[str, Format] = {
    suffix: record for record in FORMATS for suffix in record.suffixes
}
"""Formats that come with voxarray, by suffix."""


def all_formats() -> list[Format]:
    """Formats that come with voxarray, and those that other packages add."""
    return [*FORMATS, *added_formats(BY_SUFFIX)]


def format_of(path: str | os.PathLike[str]) -> Format | None:
    """The format that the longest fitting suffix of a path names; None if none does."""
    return _of_table(path, _OPENED) or _fitting(path, _added(), _suffixes)


def writable_format(path: str | os.PathLike[str]) -> Format | None:
    """The format that is written for the suffix of a path; None if none is."""
    return _of_table(path, _WRITTEN) or _fitting(path, _added(), _written)


def known_suffixes() -> list[str]:
    """Suffixes of files and archives that can be opened, sorted."""
    return sorted(s for record in all_formats() if record.open for s in record.suffixes)


def written_suffixes() -> list[str]:
    """Suffixes that can be written, format by format."""
    return [suffix for record in all_formats() for suffix in record.written]


def not_written(path: str, advice: str = "") -> UnsupportedError:
    """The error of a path to which no image can be saved; it says which suffixes can be.

    A suffix that is read, such as ``.npy``, is known: whoever opened a file of that name must not
    be told that nobody knows it.

    Args:
        path: As the user gave it.
        advice: What the message says at its end.
    """
    written, read = ", ".join(written_suffixes()), longest_suffix(path, known_suffixes())
    if read:
        message = (
            f"{path!r} cannot be written, since voxarray reads {read} files, but does not write "
            f"them: choose one of {written}{advice}"
        )
    else:
        message = (
            f"{path!r} does not end in a suffix of a format that voxarray writes: choose one of "
            f"{written}{advice}"
        )
    return UnsupportedError(message, code="UNKNOWN_SUFFIX", path=path)


def searched_suffixes(formats: Iterable[Format] | None = None) -> set[str]:
    """Suffixes of the files that are images when a folder is searched, of all formats or some."""
    some = all_formats() if formats is None else formats
    return {s for record in some if record.open and record.in_folders for s in record.suffixes}


def detached_suffixes() -> tuple[str, ...]:
    """Suffixes of headers whose voxels are in another file, of the formats that come with us."""
    return tuple(suffix for record in FORMATS for suffix in record.detached)


def names_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the name of one archive, as voxarray writes them."""
    # Not of formats that were added: looking for these takes milliseconds, and a folder has
    # thousands of names.
    writer = _of_table(path, _WRITTEN)
    return writer is not None and writer.identity == "zarr"


def _added() -> list[Format]:
    # Looked up last: reading the metadata of all installed packages takes milliseconds.
    return added_formats(BY_SUFFIX)


def _suffixes(record: Format) -> tuple[str, ...]:
    return record.suffixes if record.open else ()


def _written(record: Format) -> tuple[str, ...]:
    return record.written


def _by_ending(suffixes: Callable[[Format], tuple[str, ...]]) -> Mapping[str, Format]:
    return {suffix: record for record in reversed(FORMATS) for suffix in suffixes(record)}


_OPENED = _by_ending(_suffixes)
_WRITTEN = _by_ending(_written)
"""Of `FORMATS`, by suffix: a folder has thousands of names, and the table has a hundred."""


def _of_table(path: str | os.PathLike[str], table: Mapping[str, Format]) -> Format | None:
    """The format of the longest suffix that a path ends with; all suffixes begin with a dot."""
    name = _name_of(path)
    dot = name.find(".", 1)  # a name that is a suffix and nothing else has none
    while dot >= 0:
        record = table.get(name[dot:])
        if record is not None:
            return record
        dot = name.find(".", dot + 1)
    return None


def _fitting(
    path: str | os.PathLike[str],
    formats: Iterable[Format],
    suffixes: Callable[[Format], tuple[str, ...]],
) -> Format | None:
    name = _name_of(path)  # once: a folder has thousands of names, and the table has twenty rows
    fitting = [(len(s), record) for record in formats if (s := _longest(name, suffixes(record)))]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def longest_suffix(path: str | os.PathLike[str], suffixes: Iterable[str]) -> str:
    """The longest of the suffixes that a name ends with; empty if there is none, or it is all."""
    return _longest(_name_of(path), suffixes)


def _name_of(path: str | os.PathLike[str]) -> str:
    return os.path.basename(os.path.normpath(path)).lower()


def _longest(name: str, suffixes: Iterable[str]) -> str:
    return max((s for s in suffixes if name.endswith(s) and name != s), key=len, default="")
