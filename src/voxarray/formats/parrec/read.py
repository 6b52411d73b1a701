"""Philips PAR/REC: a text header and slices, each with its own slope and intercept."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.header_text import beginning, checked_sizes
from voxarray.formats._voxels.nibabel_errors import nibabel_errors
from voxarray.formats._voxels.slice_scaling import PartScaled
from voxarray.formats._voxels.slice_table import ScatteredSlices, slice_numbers
from voxarray.formats.companions import companion_file
from voxarray.formats.suffixes import suffix_of
from voxarray.source.base import Channels, Source
from voxarray.storage.file_identity import FileIdentity

if TYPE_CHECKING:
    from nibabel.parrec import PARRECHeader


_TELLING = (
    "echo number",
    "dynamic scan number",
    "cardiac phase number",
    "image_type_mr",
    "scanning sequence",
    "label type",
    "diffusion b value number",
    "gradient orientation number",
)
"""Columns of the table of slices that tell volumes apart."""


def open_parrec(path: str | os.PathLike[str]) -> Source:
    """A PAR/REC image; either file may be named, only the header is read.

    Volumes (dynamics, echoes, diffusion directions) become C in nibabel's order; in that of its
    ``strict_sort`` where the other would put slices of several echoes and such into one volume.
    Intensities are the values that the console shows (nibabel's scaling ``"dv"``).

    Raises:
        MissingFileError: One of the files is not there.
        FormatError: ``BAD_HEADER`` (slices that are missing are one reason), ``BAD_AFFINE``,
            ``BAD_DIMS``, ``BAD_SCALE``, ``AMBIGUOUS_VOLUMES``.
        TruncatedError: The file of voxels is shorter than the header says.
    """
    header, data = _files(os.path.abspath(path))
    with header.named_in_errors():
        # Names in the header may be in any code page: this one decodes whatever bytes there are.
        text = beginning(header).decode("latin-1")
        with nibabel_errors("PAR"):
            facts = _facts(text)
            sizes = [int(n) for n in facts.get_data_shape()]
            dtype, affine = np.dtype(facts.get_data_dtype()), facts.get_affine()
            order = np.asarray(facts.get_sorted_slice_indices())
            slopes, intercepts = facts.get_data_scaling("dv")
        w, h, d, count = (*checked_sizes(sizes, 4), 1)[:4]
        if order.size != count * d:
            raise FormatError(
                f"{order.size} slices do not make {count} volumes of {d}: expected {count * d}; "
                "export the scan again",
                code="BAD_HEADER",
            )
        shape = (count, w, h, d)
        base = ScatteredSlices(
            identity=data,
            header=header,
            stored=StoredVoxels(shape, dtype),
            affine=affine,
            channels=Channels(),
            numbers=slice_numbers(order, shape),
        )
        return PartScaled.of(base, _as_4d(slopes), _as_4d(intercepts))


def _facts(text: str) -> PARRECHeader:
    """The header, sorted so that a volume holds slices of one kind.

    nibabel counts how often a slice was listed before, which is the volume only if all volumes
    list their slices in one order; its strict order looks at what the slices are.

    Raises:
        FormatError: Nothing sorts them (``AMBIGUOUS_VOLUMES``).
    """
    from nibabel.parrec import PARRECHeader

    mixed: list[str] = []
    for is_strict in (False, True):
        facts = PARRECHeader.from_fileobj(io.StringIO(text), strict_sort=is_strict)
        if not (mixed := _mixed(facts)):
            return facts
    raise FormatError(
        "slices cannot be sorted into volumes: however they are sorted, slices of one volume "
        f"differ in {', '.join(mixed)}; export each scan as a file of its own",
        code="AMBIGUOUS_VOLUMES",
    )


def _mixed(facts: PARRECHeader) -> list[str]:
    """Columns that have several values within a volume."""
    order, depth = np.asarray(facts.get_sorted_slice_indices()), facts.get_data_shape()[2]
    volumes = facts.image_defs[order[: order.size // depth * depth]].reshape(-1, depth)
    return [
        name
        for name in _TELLING
        if name in volumes.dtype.names and (volumes[name] != volumes[name][:, :1]).any()
    ]


def _files(path: str) -> tuple[FileIdentity, FileIdentity]:
    identity, suffix = FileIdentity.of(path), suffix_of(path)
    if suffix == ".par":
        return identity, companion_file(identity.path, suffix, (".rec",))
    return companion_file(identity.path, suffix, (".par",)), identity


def _as_4d(table: NDArray) -> NDArray[np.float64]:
    """A table of nibabel's, (1, 1, D) or (1, 1, D, C), as (C, 1, 1, D)."""
    array = np.asarray(table, np.float64)
    array = array[..., None] if array.ndim == 3 else array
    return array.transpose(3, 0, 1, 2)
