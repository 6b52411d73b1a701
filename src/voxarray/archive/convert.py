"""From a source to a published archive: one pass, bounded memory, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voxarray.archive import held_files, layer_names
from voxarray.archive.chunk_statistics import Extremes
from voxarray.archive.layer_changes import require_free
from voxarray.archive.layer_names import require_name
from voxarray.archive.metadata import Kind, Label
from voxarray.archive.options import Conversion, LabelLayer, Options
from voxarray.archive.partial_writes import PartialWrite, complete
from voxarray.archive.publication import finish, in_the_making
from voxarray.archive.smaller_chunks import advice
from voxarray.archive.write_plan import WritePlan
from voxarray.core import memory
from voxarray.core.errors import GridError
from voxarray.core.progress import Progress
from voxarray.geometry.grid import Grid
from voxarray.geometry.grid_difference import difference
from voxarray.geometry.layout import Factors
from voxarray.source.base import Source
from voxarray.storage.archive_suffixes import is_zip_name
from voxarray.storage.destination import destination_of

LABEL_SHA256 = "label_sha256"
"""Key of the sha256 of the files of label maps, by name, in the facts about the source."""


def convert(
    source: Source,
    destination: str | os.PathLike[str],
    *,
    kind: Kind = "intensity",
    table: Sequence[Label] = (),
    labels: Mapping[str, LabelLayer] | None = None,
    options: Options = Options(),
    progress: Progress | None = None,
    facts: Mapping[str, Any] | None = None,
    extremes: bool = False,
    parts: Sequence[PartialWrite] = (),
    confirm: Callable[[], None] | None = None,
) -> Conversion:
    """Archive a source at ``destination``: a directory, or one file if it ends with ``.ozx``.

    The source is read exactly once. Memory is what `projected_peak` says, which does not grow
    with the depth of the volume, but for compressed files that are decoded at once (at most a
    sixteenth of the budget).

    Args:
        source: The image.
        destination: Where the archive appears when it is whole.
        kind: ``"label"`` makes the pyramid by vote and compresses for labels.
        table: Names and colours of the values of a label map.
        labels: Label maps of the image, by name.
        options: Levels, chunks, codec, overwriting.
        progress: Called with the bytes of voxels done and in all.
        facts: What the manifest states about the source besides its size and sha256; JSON.
        extremes: Whether the manifest also states the smallest and the largest value, which are
            found while chunks are encoded.
        parts: All parts of the image, if they were written before by `write_part`.
        confirm: Called when the archive is complete, before it replaces another one; if it raises,
            the old archive stays.

    Raises:
        ArchiveExistsError: If the destination exists and may not be overwritten.
        MemoryBudgetError: If the projected peak exceeds the budget; nothing was read.
        GridError: If a label map is on another grid than the image; ``GRID_MISMATCH``.
        VoxarrayError: What the source or the disk finds wrong; nothing was published.
    """
    start = time.perf_counter()
    target = destination_of(destination)
    plans = _plans(source, kind, table, labels or {}, options)
    memory.require(
        _peak(plans),
        lambda: f"converting {source.path or 'the image'}",
        lambda: advice(
            lambda other: _peak(_plans(source, kind, table, labels or {}, other)), options
        ),
    )
    total = sum(plan.voxel_bytes for plan in plans.values())
    holds = total <= held_files.LARGEST and not parts
    count = counter(progress, total)
    value_range = Extremes() if extremes else None
    with in_the_making(target, options.overwrite, options.staging, holds=holds) as area:

        def report(size: int) -> None:
            area.proceed()
            count(size)

        digests = [
            complete(plan, area, parts, value_range)
            if parts and not prefix
            else plan.write(area, prefix, report, None if prefix else value_range)
            for prefix, plan in plans.items()
        ]
        if labels:
            area.write(layer_names.LIST, layer_names.list_document(labels))
        values = {} if value_range is None else value_range.of(plans[""].metadata.scaling)
        size = source.bytes_on_disk
        source_facts = {"bytes": size, "sha256": digests[0], **(facts or {}), **values}
        if labels:
            source_facts[LABEL_SHA256] = dict(zip(labels, digests[1:], strict=True))
        finish(area, source_facts, options.overwrite, zipped=is_zip_name(target), confirm=confirm)
    return Conversion(
        path=target,
        source_bytes=total,
        archive_bytes=sum(entry.size for entry in area.files.values()),
        seconds=time.perf_counter() - start,
        levels=plans[""].metadata.levels,
        manifest=area.published,
        files=len(area.files),
    )


def planned(source: Source, kind: Kind = "intensity", options: Options = Options()) -> WritePlan:
    """What `convert` would do with an image; nothing is read."""
    return WritePlan.of(source, kind, (), options)


def _peak(plans: Mapping[str, WritePlan]) -> int:
    return max(plan.planned_peak for plan in plans.values())


def _plans(
    source: Source,
    kind: Kind,
    table: Sequence[Label],
    labels: Mapping[str, LabelLayer],
    options: Options,
) -> dict[str, WritePlan]:
    """The plan of every image in the archive, by its folder."""
    plans = {"": WritePlan.of(source, kind, table, options)}
    like_image = Options(chunk=options.chunk)
    for name, layer in labels.items():
        other_names = [label for label in labels if label != require_name(name)]
        require_free(name, other_names, source.path or "the image")
        plans[f"labels/{name}/"] = layer_plan(
            name, layer, source.grid, plans[""].metadata.factors, like_image
        )
    return plans


def layer_plan(
    name: str, layer: LabelLayer, grid: Grid, factors: Sequence[Factors], options: Options
) -> WritePlan:
    """How a label map is archived with the image it belongs to.

    Args:
        name: Of the label map.
        layer: The label map.
        grid: Of the image.
        factors: Of the pyramid of the image.
        options: Of its codec and chunks.

    Raises:
        GridError: If it is on another grid (``GRID_MISMATCH``).
    """
    if not grid.isclose(layer.source.grid):
        told = difference(grid, layer.source.grid)
        raise GridError(
            f"the label map {name!r} has {layer.source.grid}, but the image has {grid}"
            f"{told and f' ({told})'}: resample the label map onto the image first, with "
            "vx.Resample(image)(label_map); the image of an archive is vx.Archive(path).image",
            code="GRID_MISMATCH",
        )
    return WritePlan.of(layer.source, "label", layer.table, options, factors)


def counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    """A function that adds up bytes and reports the sum to ``progress``."""
    processed = 0

    def report(size: int) -> None:
        nonlocal processed
        processed += size
        if progress is not None:
            progress(processed, total)

    return report
