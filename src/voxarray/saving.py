"""Saving and converting in the format that a suffix names, once memory was checked."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.error_messages import REPLACED_WITHOUT
from voxarray.core.errors import (
    ArchiveExistsError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
)
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.given_paths import path_text
from voxarray.core.keys import LABEL
from voxarray.core.progress import ProgressOption, reporting
from voxarray.formats.file_sets import files_of
from voxarray.formats.memory_check import require_room
from voxarray.formats.record import KEYWORDS, Format, SaveRequest
from voxarray.formats.registry import load, not_written, open_source, writable_format
from voxarray.geometry.pyramid_levels import Levels
from voxarray.source.base import Source
from voxarray.source.storable import refuse_beyond_disks
from voxarray.statistics.decoded_copies import staged, when_staged
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.destination import destination_of, local_destination
from voxarray.storage.outer_archive import refuse_place_in_archive
from voxarray.storage.remote.address import is_url
from voxarray.storage.uploads import refuse_existing, size_of, uploading

if TYPE_CHECKING:
    from voxarray.archive.options import Conversion, LabelLayer


def save(
    source: Source,
    path: str | os.PathLike[str],
    *,
    label: bool,
    overwrite: bool | None,
    squeeze: bool | None = None,
    codec: str | None = None,
    levels: Levels = None,
    chunks: int | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: ProgressOption = None,
) -> None:
    """Write all voxels of a source in the format that the suffix of ``path`` names.

    Raises:
        UnsupportedError: If it names none (code ``UNKNOWN_SUFFIX``), the format cannot use a
            keyword (``CANNOT_SQUEEZE``, ``UNUSED_KEYWORD``) or cannot hold the image; the writers
            say what they can. No disk holds more than an EiB (``TOO_LARGE``).
        ArchiveExistsError: If the file or archive exists and ``overwrite`` is not set; or if it
            is set, and that would delete what voxarray did not write.
        MemoryBudgetError: If it needs more memory than allowed; nothing was read or written.
    """
    destination = _destination(path)
    written = _format(destination)
    overwrite = _may_replace(destination, written) if overwrite is None else overwrite
    request = SaveRequest(
        source, destination, label, overwrite, squeeze, codec, levels, chunks, facts=facts
    )
    _save(request, written, progress)


def _save(request: SaveRequest, written: Format, progress: ProgressOption) -> None:
    """Write what is asked for, if the format can and memory allows; see `save`."""
    _refuse_unused(request, written)
    _refuse_several_files(request.path, written)
    _refuse_existing(request)
    _remark_lost_names(request.source, written)
    title = os.path.basename(request.path)
    try:
        refuse_beyond_disks(request.source)
        require_room(
            request, written, when_staged, lambda source: projected_peak(source, request.path)
        )
        with staged(request.source, is_last=True) as ready, reporting(progress, title) as report:
            _write(replace(request, source=ready, progress=report), written)
    except VoxarrayError as error:
        error.path = error.path or request.path
        raise


@names_exhaustion
def convert(
    source: Any,
    destination: str | os.PathLike[str],
    *,
    label: bool = False,
    labels: Mapping[str, Any] | None = None,
    codec: str | None = None,
    levels: Levels = None,
    chunks: int | None = None,
    zip: bool = False,  # noqa: A002  # what the command line calls it
    memory: int | str | None = None,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> Conversion:
    """Convert one image in one pass and bounded memory, to the format of the destination's suffix.

    An archive (``.ome.zarr``, ``.nii.zarr``, ``.zarr``, ``.ozx``) has checksums, is verified, and
    appears at the destination only when it is complete. Every other format that can be written is
    written as `Image.save` writes it. Many images become a cohort with `voxarray.convert_cohort`.

    Examples:
        >>> import voxarray as vx
        >>> scan = vx.testing.sample()
        >>> done = vx.convert(scan, "scan.ome.zarr", overwrite=True)
        >>> done.levels
        1

    Args:
        source: Path or URL of an image, or an `Image`.
        destination: Path of the archive or file to write.
        label: Treat the source as a label map, whose pyramid is made by majority vote. Images of
            type `LABEL` and archives of label maps are treated as label maps anyway.
        labels: Label maps to store in the image's archive, by name: paths or images on the same
            grid. If the source is an archive, pass ``vx.Archive(path).labels`` to keep its label
            maps.
        codec: Profile of an archive's codec: one of the profiles that `Image.save` lists.
        levels: Pyramid levels of an archive. A number is the number of levels, full
            resolution included. A list such as ``[4, 16]`` says how many times coarser than
            full resolution each level is. ``"all"`` stands for 2, 4, 8, ... By default, the
            levels are 4, 8, 16, ... times coarser.
        chunks: Edge of an archive's chunks, in voxels.
        zip: Make sure that the result is a single file: raise an error unless the destination ends
            in ``.ozx``.
        memory: Memory budget, in bytes or as ``"512 MiB"``; by default the setting
            ``voxarray.memory-budget`` (in dask's configuration).
        overwrite: Replace an existing archive or file. Without it, an existing one raises an error.
        progress: True shows a progress bar, False none, None (the default) only in a terminal or
            notebook; or a function of (bytes done, bytes in all).

    Returns:
        A summary with path, bytes, seconds and levels.

    Warns:
        VoxarrayWarning: If the source is an archive with label maps and these are not written
            (``LABELS_LEFT``), or the file format cannot hold the names of labels
            (``LABEL_NAMES_LOST``).

    Raises:
        MissingFileError: If there is no such image.
        ArchiveExistsError: If the destination exists and ``overwrite`` is not set.
        UnsupportedError: For a suffix that cannot be written (``UNKNOWN_SUFFIX``), and for a
            keyword that the format cannot use (``UNUSED_KEYWORD``).
        MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        GridError: If a label map is on another grid (``GRID_MISMATCH``).
    """
    # An image can be opened and sliced without the codecs, which these load.
    from voxarray.archive.convert import convert as convert_to_archive
    from voxarray.archive.options import Options
    from voxarray.archive.source import remark_left_labels

    target = _destination(destination)
    written = _format(target)
    if zip and not is_zip_name(target):
        raise UnsupportedError(
            f"zip=True writes one .ozx file, and {target} is not one: choose a name that ends in "
            ".ozx",
            code="UNUSED_KEYWORD",
            path=target,
        )
    image, is_label = _opened(source)
    is_label = label or is_label
    if labels is None:
        remark_left_labels(image)
    with _budget(memory):
        if written.identity != "zarr":
            request = SaveRequest(
                image, target, is_label, overwrite, codec=codec, levels=levels, chunks=chunks
            )
            return _convert_to_file(request, written, labels, progress)
        layers = {name: _layer(label_map) for name, label_map in (labels or {}).items()}
        title = os.path.basename(target)
        with staged(image, is_last=True) as ready, reporting(progress, title) as report:
            return convert_to_archive(
                ready,
                target,
                kind="label" if is_label else "intensity",
                table=image.label_table if is_label else (),
                labels=layers,
                options=Options(levels, chunks, codec, overwrite),
                progress=report,
            )


def _destination(path: str | os.PathLike[str]) -> str:
    """A local path as it is given, or the URL of a place in a bucket; neither in an archive."""
    destination = destination_of(path)
    if not is_url(destination):
        destination = os.path.expanduser(local_destination(path))
    refuse_place_in_archive(destination)
    return destination


def _write(request: SaveRequest, written: Format) -> None:
    writer = load(str(written.write))
    if written.identity == "zarr" or not is_url(request.path):
        writer(request)
        return
    with uploading(request.path, request.overwrite) as local:
        writer(replace(request, path=local))
        if len(files_of(local)) > 1:
            raise _several_files(request.path, written)


def _refuse_several_files(destination: str, written: Format) -> None:
    """Refuse formats of several files for a bucket, where they cannot appear in one step."""
    is_pair = written.identity == "stem" or destination.lower().endswith(written.detached)
    if is_url(destination) and is_pair:
        raise _several_files(destination, written)


def _several_files(destination: str, written: Format) -> UnsupportedError:
    return UnsupportedError(
        f"an image saved as {destination} ({written.name}) has several files, which cannot appear "
        "in a bucket in one step: save one file (.nii.gz, .nrrd, .mha) or an archive (.ome.zarr)",
        code="UNSUPPORTED_DESTINATION",
        path=destination,
    )


def _remark_lost_names(source: Source, written: Format) -> None:
    """Say that only archives hold what labels are called.

    Warns:
        VoxarrayWarning: ``LABEL_NAMES_LOST``.
    """
    if written.identity != "zarr" and source.label_table:
        label = source.label_table[0]
        such = f"{label.name!r} for label" if label.name else "the colour of label"
        warn_caller(
            f"LABEL_NAMES_LOST: {written.name} files cannot store the names and colours of labels, "
            f"such as {such} {label.value}: to keep them, save an archive (.ome.zarr)",
            VoxarrayWarning,
        )


def _convert_to_file(
    request: SaveRequest,
    written: Format,
    labels: Mapping[str, Any] | None,
    progress: ProgressOption,
) -> Conversion:
    if labels:
        raise UnsupportedError(
            f"{written.name} files hold one image, and labels= names label maps: convert each to a "
            "file of its own, or convert to an archive (.ome.zarr)",
            code="UNUSED_KEYWORD",
            path=request.path,
        )
    from voxarray.archive.options import Conversion

    began = time.perf_counter()
    _save(request, written, progress)
    path = request.path if is_url(request.path) else os.path.abspath(request.path)
    return Conversion(
        path=path,
        source_bytes=math.prod(request.source.shape) * request.source.dtype.itemsize,
        archive_bytes=_bytes_of(path),
        seconds=time.perf_counter() - began,
        levels=1,
    )


def _bytes_of(path: str) -> int:
    if is_url(path):
        return size_of(path) or 0
    return sum(os.path.getsize(file) for file in files_of(path))


def _opened(value: Any) -> tuple[Source, bool]:
    """The source of a path or image, and whether that is a label map."""
    from voxarray.archive.source import is_label_map

    if isinstance(value, Source):
        return value, is_label_map(value)
    source = getattr(value, "source", None)
    if isinstance(source, Source):
        return source, value.type == LABEL
    text = path_text(value)
    source = open_source(text if is_url(text) else os.path.expanduser(text))
    return source, is_label_map(source)


def _layer(value: Any) -> LabelLayer:
    from voxarray.archive.options import LabelLayer

    source, _ = _opened(value)
    return LabelLayer(source, source.label_table)


def _budget(memory: int | str | None) -> AbstractContextManager[Any]:
    if memory is None:
        return nullcontext()
    import dask.config

    budget: AbstractContextManager[Any] = dask.config.set({"voxarray.memory-budget": memory})
    return budget


def projected_peak(source: Source, destination: str) -> int:
    """Bytes of memory that writing a source needs at its peak; nothing is read."""
    peak: int = load(_format(destination).peak)(source)
    return peak


def _format(destination: str) -> Format:
    file_format = writable_format(destination)
    if file_format is None:
        raise not_written(destination)
    return file_format


def _may_replace(destination: str, written: Format) -> bool:
    """Release 0.1 replaced files without being asked; the next one will not.

    Warns:
        FutureWarning: A file will be replaced.
    """
    if written.identity == "zarr" or is_url(destination) or not os.path.lexists(destination):
        return False
    warn_caller(
        f"{destination} exists already and is replaced: from the next release on, replacing a file "
        "needs overwrite=True",
        FutureWarning,
    )
    return True


def _refuse_existing(request: SaveRequest) -> None:
    """Refuse early, before anything is read; the writers look again."""
    if is_url(request.path):
        if not request.overwrite:
            refuse_existing(request.path, _format(request.path).identity == "zarr")
        return
    if os.path.exists(request.path) and not request.overwrite:  # a link may lead nowhere yet
        is_archive = _format(request.path).identity == "zarr"
        more = f"; the new archive is {REPLACED_WITHOUT}" if is_archive else ""
        raise ArchiveExistsError(
            f"{request.path} exists already: choose another name, or pass overwrite=True "
            f"(--overwrite){more}",
            path=request.path,
        )


def _refuse_unused(request: SaveRequest, written: Format) -> None:
    """Refuse keywords that mean nothing for a format, rather than leave them unheeded."""
    if request.squeeze and "squeeze" not in written.keywords:
        raise UnsupportedError(
            f"squeeze=True has no effect on {request.path}: its format ({written.name}) always has "
            "three spatial axes; leave squeeze out",
            code="CANNOT_SQUEEZE",
            path=request.path,
        )
    for name in KEYWORDS:
        if name != "squeeze" and name not in written.keywords:
            value = getattr(request, name)
            if value is not None:
                raise UnsupportedError(
                    f"{name}={value!r} has no effect on {request.path}: {written.name} files have "
                    f"no such option; leave {name} out, or save an archive (.ome.zarr)",
                    code="UNUSED_KEYWORD",
                    path=request.path,
                )
