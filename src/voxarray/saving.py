"""Saving a source in the format that a suffix names, once its memory was checked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from voxarray.core.errors import ArchiveExistsError, UnsupportedError, VoxarrayError
from voxarray.core.memory import require
from voxarray.formats.record import KEYWORDS, Format, Request
from voxarray.formats.registry import load, writable_format, written_suffixes
from voxarray.source.base import Source
from voxarray.statistics.decoded_copies import staged, when_staged
from voxarray.storage.destination import local_destination


def save(
    source: Source,
    path: str | os.PathLike[str],
    *,
    label: bool,
    overwrite: bool,
    squeeze: bool | None = None,
    codec: str | None = None,
    levels: int | None = None,
    chunks: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write all voxels of a source in the format that the suffix of ``path`` names.

    Raises:
        UnsupportedError: If it names none (code ``UNKNOWN_SUFFIX``), the format cannot use a
            keyword (``CANNOT_SQUEEZE``, ``UNUSED_KEYWORD``) or cannot hold the image; the writers
            say what they can.
        ArchiveExistsError: If the file or archive exists and ``overwrite`` is not set; or if it
            is set, and that would delete what voxarray did not write.
        MemoryBudgetError: If it needs more memory than allowed; nothing was read or written.
    """
    destination = os.path.expanduser(local_destination(path))
    written = _format(destination)
    request = Request(
        source, destination, label, overwrite, squeeze, codec, levels, chunks, progress
    )
    _refuse_unused(request, written)
    _refuse_existing(request)
    try:
        require(
            projected_peak(when_staged(source), destination),
            lambda: f"saving {os.path.basename(destination)}",
            "give a lazy array smaller blocks (image.rechunk), or raise the budget",
        )
        with staged(source, is_last=True) as ready:
            load(str(written.write))(replace(request, source=ready))
    except VoxarrayError as error:
        error.path = error.path or destination
        raise


def projected_peak(source: Source, destination: str) -> int:
    """Bytes of memory that writing a source needs at its peak; nothing is read."""
    peak: int = load(_format(destination).peak)(source)
    return peak


def _format(destination: str) -> Format:
    found = writable_format(destination)
    if found is None:
        raise UnsupportedError(
            f"no format is known by the suffix of {destination!r}; known are "
            f"{', '.join(written_suffixes())}",
            code="UNKNOWN_SUFFIX",
            path=destination,
        )
    return found


def _refuse_existing(request: Request) -> None:
    """Refuse early, before anything is read; the writers look again."""
    if os.path.exists(request.path) and not request.overwrite:
        raise ArchiveExistsError(
            f"{request.path} exists already: choose another name, or pass overwrite=True",
            path=request.path,
        )


def _refuse_unused(request: Request, written: Format) -> None:
    """Refuse keywords that mean nothing for a format, rather than leave them unheeded."""
    if request.squeeze and "squeeze" not in written.keywords:
        raise UnsupportedError(
            f"squeeze=True has no meaning for {request.path}: the format always has three spatial "
            "axes; leave it out",
            code="CANNOT_SQUEEZE",
            path=request.path,
        )
    for name in KEYWORDS:
        if name != "squeeze" and name not in written.keywords:
            value = getattr(request, name)
            if value is not None:
                raise UnsupportedError(
                    f"{name}={value!r} has no meaning for {request.path}: {written.name} files are "
                    "written in one way; leave it out, or save an archive (.ome.zarr)",
                    code="UNUSED_KEYWORD",
                    path=request.path,
                )
