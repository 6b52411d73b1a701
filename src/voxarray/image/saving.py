"""Which writer a suffix asks for."""

from __future__ import annotations

import os
from collections.abc import Callable

from voxarray.errors import UnsupportedError
from voxarray.sources.base import Source

Writer = Callable[[Source, str, bool, bool], None]
"""Takes a source, a path, whether it is a label map, and whether to replace an archive."""


def save(source: Source, path: str | os.PathLike[str], *, label: bool, overwrite: bool) -> None:
    """Write all voxels of a source in the format that the suffix of ``path`` names.

    Raises:
        UnsupportedError: If it names none (code ``UNKNOWN_SUFFIX``).
        ArchiveExistsError: If an archive exists and ``overwrite`` is not set.
    """
    destination = os.path.expanduser(os.fspath(path))
    _writer(destination)(source, destination, label, overwrite)


def cannot_squeeze(path: str | os.PathLike[str]) -> UnsupportedError:
    """Error for ``squeeze=True``."""
    return UnsupportedError(
        f"squeeze=True has no meaning for {os.fspath(path)}: {', '.join(WRITERS)} always have "
        "three spatial axes; leave it out",
        code="CANNOT_SQUEEZE",
    )


def _writer(destination: str) -> Writer:
    name = os.path.basename(destination).lower()
    # The longest suffix decides: .nii.zarr is an archive, and so is .ome.zarr.
    for suffix in sorted(WRITERS, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            return WRITERS[suffix]
    raise UnsupportedError(
        f"no format is known by the suffix of {destination!r}; known are {', '.join(WRITERS)}",
        code="UNKNOWN_SUFFIX",
        path=destination,
    )


def _nifti(source: Source, path: str, label: bool, overwrite: bool) -> None:  # noqa: ARG001
    from voxarray.writers.nifti import write_nifti

    write_nifti(source, path)


def _archive(source: Source, path: str, label: bool, overwrite: bool) -> None:
    from voxarray.archive.convert import convert
    from voxarray.archive.options import Options

    convert(
        source, path, kind="label" if label else "intensity", options=Options(overwrite=overwrite)
    )


WRITERS: dict[str, Writer] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".ome.zarr": _archive,
    ".zarr": _archive,
    ".nii.zarr": _archive,
    ".ozx": _archive,
}
"""Writer of each suffix, in the order in which an error lists them."""
