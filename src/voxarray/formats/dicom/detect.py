"""Which files are DICOM: by their bytes, not by their names, which may be anything.

Nothing here loads pydicom, so that whoever looks for images may ask.
"""

from __future__ import annotations

import os

from voxarray.core.errors import FormatError, MissingFileError

SUFFIXES = frozenset({".dcm", ".ima", ".dicom"})

_PREAMBLE = 128
_MAGIC = b"DICM"
_INDEX = "dicomdir"


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file has DICOM's mark after its preamble (PS3.10, 7.1)."""
    return os.path.isfile(path) and _begins_so(path)


def _begins_so(path: str | os.PathLike[str]) -> bool:
    """As `is_dicom`, of what is known to be a file."""
    try:
        return _head(path)[_PREAMBLE:] == _MAGIC
    except OSError:  # what may not be read is for its reader to complain of
        return False


def is_dicom_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds DICOM files; asked of its files until one of them is."""
    with os.scandir(path) as entries:
        names = sorted(entry.path for entry in entries if _may_be_dicom(entry))
    return any(map(_begins_so, names))


def dicom_files(folder: str | os.PathLike[str]) -> list[str]:
    """Paths of the DICOM files in a folder, not below it, sorted.

    An index (DICOMDIR), hidden files and what is clearly something else are left out.

    Raises:
        MissingFileError: If there is no such folder.
        FormatError: For a file that should be DICOM by its name, or whose name says nothing, and
            is not (``NOT_DICOM``): leaving it out might leave out a slice.
    """
    try:
        with os.scandir(folder) as entries:
            paths = sorted(entry.path for entry in entries if _may_be_dicom(entry))
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no folder {folder}: check the path", path=folder
        ) from None
    dicom = []
    for path in paths:
        head = _head(path)
        if head[_PREAMBLE:] == _MAGIC:
            dicom.append(path)
        elif _suffix(path) in SUFFIXES or not (_is_named_otherwise(path) or _is_text(head)):
            raise FormatError(
                f"{os.path.basename(path)} has the name of a DICOM file, but is none ({len(head)} "
                f"bytes, no {_MAGIC.decode()} at byte {_PREAMBLE}): repair it, or move it to "
                "another folder",
                code="NOT_DICOM",
                path=path,
            )
    return dicom


def _may_be_dicom(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    if name.startswith((".", _INDEX)):
        return False
    try:
        return entry.is_file()
    except OSError:  # a link that leads in a circle
        return False


def _is_named_otherwise(path: str) -> bool:
    """Whether a file has a suffix of letters, as other formats do; numbers end UIDs."""
    suffix = _suffix(path)[1:]
    return bool(suffix) and suffix[0].isalpha()


def _is_text(head: bytes) -> bool:
    return bool(head) and all(byte >= 32 or byte in b"\t\r\n" for byte in head)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _head(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(_PREAMBLE + len(_MAGIC))
