"""From inputs that were found to a plan: headers are opened, label maps find their images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from voxarray.archive.inodes import inodes_of, inodes_with_layers
from voxarray.archive.metadata import Kind
from voxarray.archive.outline import Outline
from voxarray.cohort.discover import bids
from voxarray.cohort.discover.input import DiscoveredInput
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.plan.archive_names import slug, text_digest
from voxarray.cohort.plan.changed_options import given
from voxarray.cohort.plan.divided_series import SERIES, warn_of_divided
from voxarray.cohort.plan.failures import failure_of
from voxarray.cohort.plan.files_without_pixels import WITHOUT_PIXELS
from voxarray.cohort.plan.fingerprint import InputFingerprint, header_digest
from voxarray.cohort.plan.item import Failure, Header, Input, Item, Layer
from voxarray.cohort.plan.name_collisions import collision
from voxarray.cohort.plan.neighbour_files import with_neighbours
from voxarray.cohort.plan.opened_inputs import open_series
from voxarray.cohort.plan.plan import Plan, archive_key
from voxarray.cohort.plan.renamed_series import warn_of_renamed
from voxarray.cohort.plan.retained_fields import kept_of
from voxarray.core import settings
from voxarray.core.dtype_names import dtype_name
from voxarray.core.errors import FormatError, MissingFileError, VoxarrayError
from voxarray.core.given_paths import path_text
from voxarray.geometry.grid import Grid
from voxarray.source.base import Source

_NOWHERE = InputFingerprint(0, 0, "")


@dataclass(frozen=True, slots=True)
class _OpenedInput:
    """An input after a look at its header; without a grid if it could not be opened."""

    discovered: DiscoveredInput
    origin: Input
    image: str
    header: Header | None = None
    grid: Grid | None = None
    facts: Mapping[str, Any] | None = None
    failure: Failure | None = None


def plan_of(
    inputs: Sequence[DiscoveredInput],
    sources: Sequence[str],
    options: ArchiveOptions,
    previous: Plan | None = None,
    looked: Callable[[int, int], None] | None = None,
) -> Plan:
    """Plan the archives of all inputs; voxels are not read.

    Inputs whose stamps are those of the previous plan are not opened again.

    Args:
        inputs: The inputs.
        sources: What the user named: the cohort remembers a digest of it.
        options: Of the cohort.
        previous: The plan that was there, of the same sources; see `require_same`.
        looked: Called with the inputs that were looked at and all of them.

    Warns:
        VoxarrayWarning: If files of one DICOM series lie in several folders (``SERIES_DIVIDED``),
            or several series in a folder for which the user chose a name (``SERIES_RENAMED``).
    """
    origin, _ = _origins(sources)
    reusable, digest = _reusable(previous, options), options.digest()
    items: list[Item] = []
    done = 0
    with ThreadPoolExecutor(settings.threads(), "voxarray-plan") as threads:
        for subject in _subjects(inputs):
            # One alone is asked for here: a thread to wait for costs more than the question.
            stamps = list((threads.map if len(subject) > 1 else map)(_stamp, subject))
            planned = reusable.get(_signature(subject, stamps)) if reusable else None
            if planned is None or not _are_of_these_cells(planned, subject, digest):
                headers = [
                    opened
                    for pair in zip(subject, stamps, strict=True)
                    for opened in _look(*pair, options)
                ]
                planned = list(_items(headers, options, digest))
            items += planned
            done += len(subject)
            if looked is not None:
                looked(done, len(inputs))
    items = sorted(_told_apart(items), key=lambda item: item.slug)
    warn_of_divided(items)
    warn_of_renamed(inputs, items)
    return Plan(tuple(items), origin, digest, options.zipped, given=given(options))


def _origins(sources: Sequence[str]) -> tuple[str, str]:
    """Digests of what the user named, as plans have them now, and as those of 0.1.0 have them.

    Then, a URL with a ``/`` at its end was another source than the same one without.
    """
    paths = [s if "://" in s else os.path.realpath(os.path.expanduser(s)) for s in sources]
    plain = [name.rstrip("/") if "://" in name else name for name in paths]
    return text_digest("\0".join(plain)), text_digest("\0".join(paths))


def require_same(previous: Plan, sources: Sequence[str], options: ArchiveOptions) -> None:
    """Refuse sources or a form that are not those of the existing plan.

    Args:
        previous: The plan that is there.
        sources: What the user named.
        options: Of this run.

    Raises:
        FormatError: If the cohort was made from other sources (``OTHER_SOURCE``) or in the other
            form, zipped or not (``OTHER_FORM``).
    """
    if previous.origin not in _origins(sources):
        raise FormatError(
            "this folder holds a cohort that was made from other sources, and images of the same "
            "name would be replaced: choose another DESTINATION, or, if the same sources have "
            "moved, delete plan.json in this folder",
            code="OTHER_SOURCE",
        )
    require_same_form(previous, options)


def require_same_form(previous: Plan, options: ArchiveOptions) -> None:
    """Raise `FormatError` (``OTHER_FORM``) unless archives are zipped as those before, or not."""
    if previous.zipped != options.zipped:
        raise FormatError(
            f"this cohort {'is' if previous.zipped else 'is not'} zipped: "
            f"{'add' if previous.zipped else 'leave out'} --zip, or choose another DESTINATION",
            code="OTHER_FORM",
        )


def _subjects(inputs: Sequence[DiscoveredInput]) -> list[list[DiscoveredInput]]:
    groups: dict[str, list[DiscoveredInput]] = {}
    for item in inputs:
        groups.setdefault(item.subject, []).append(item)
    return list(groups.values())


def _stamp(item: DiscoveredInput) -> InputFingerprint | Failure:
    if item.collides_with:
        return collision(item.source, item.image, item.subject, item.collides_with)
    try:
        path_text(item.source)  # cells of a table may hold what no path can
        return InputFingerprint.of(item.location)
    except (VoxarrayError, OSError, ValueError) as error:
        failure = failure_of(error, item.source, {item.location: item.source})
        if failure.code != MissingFileError.default_code or not item.is_relative:
            return failure
        hint = "a relative path begins at the folder of the table or list that names it"
        return replace(failure, message=f"{failure.message}; {hint}")


Signature = frozenset[tuple[str, str]]


def _signature(
    subject: Sequence[DiscoveredInput], stamps: Sequence[InputFingerprint | Failure]
) -> Signature | None:
    """Names and stamps of all inputs of a subject; None if one is not there."""
    rows = []
    for item, stamp in zip(subject, stamps, strict=True):
        if isinstance(stamp, Failure):
            return None
        rows.append((f"{item.subject}\0{item.image}\0{item.kind}\0{item.source}", stamp.digest))
    return frozenset(rows)


def _reusable(previous: Plan | None, options: ArchiveOptions) -> dict[Signature | None, list[Item]]:
    """Items of a plan of the same options, by the signature of their subject.

    A subject one of whose inputs could not be opened is looked at again if that may have been a
    matter of the day.
    """
    if previous is None or previous.options != options.digest():
        return {}
    groups: dict[str, list[Item]] = {}
    for item in previous.items:
        groups.setdefault(item.subject, []).append(item)
    reusable: dict[Signature | None, list[Item]] = {}
    for items in groups.values():
        if any(item.failure is not None and not item.failure.permanent for item in items):
            continue
        rows = set()
        for item in items:
            several = item.origin.series is not None
            image = item.facts.get("_image", item.image) if several else item.image
            rows.add((_row(item, image, item.kind, item.origin), item.origin.stamp.digest))
            for layer in item.layers:
                row = _row(item, layer.name, "label", layer.origin)
                rows.add((row, layer.origin.stamp.digest))
        reusable[frozenset(rows)] = items
    return reusable


def _are_of_these_cells(
    items: Sequence[Item], subject: Sequence[DiscoveredInput], digest: str
) -> bool:
    """Whether what a table says of a subject is what it said when these items were planned."""
    cells = {one.source: one.kept for one in subject}
    return all(item.key == _key(item, cells.get(item.origin.source, {}), digest) for item in items)


def _row(item: Item, image: str, kind: str, origin: Input) -> str:
    return f"{item.subject}\0{image}\0{kind}\0{origin.source}"


def _look(
    discovered: DiscoveredInput, stamp: InputFingerprint | Failure, options: ArchiveOptions
) -> Iterator[_OpenedInput]:
    """Open the header of an input; a folder of several series is several images."""
    if isinstance(stamp, Failure):
        yield _OpenedInput(
            discovered, Input(discovered.source, _NOWHERE), discovered.image, failure=stamp
        )
        return
    origin = Input(discovered.source, stamp)
    try:
        origin = Input(discovered.source, stamp, header_digest(discovered.location))
        for series, image, source in _series(discovered):
            series_origin = origin if series is None else replace(origin, series=series)
            try:
                opened = source or open_series(discovered.location, series)
                yield _opened(discovered, series_origin, image, opened, options)
            except (VoxarrayError, OSError) as error:
                yield _failed(discovered, series_origin, image, error)
    except Exception as error:  # whatever a parser stumbles over is this file's failure alone
        yield _failed(discovered, origin, discovered.image, error)


def _series(discovered: DiscoveredInput) -> list[tuple[str | None, str, Source | None]]:
    """The image of an input; or digests and names of the series in a folder of several."""
    try:
        return [(None, discovered.image, open_series(discovered.location, None))]
    except FormatError as error:
        if error.code != "MULTIPLE_SERIES":
            raise
    from voxarray.formats.dicom.read import DicomReader

    series = [entry for entry in DicomReader().list_series(discovered.location) if entry.images]
    numbers = [entry.number for entry in series]
    images = []
    for entry in series:
        digest = text_digest(entry.uid)
        clear = entry.number is not None and numbers.count(entry.number) == 1
        images.append((digest, f"series-{entry.number if clear else digest[:8]}", None))
    return list(images)


def _failed(
    discovered: DiscoveredInput, origin: Input, image: str, error: BaseException
) -> _OpenedInput:
    places = {discovered.location: discovered.source}
    failure = failure_of(error, discovered.source, places)
    failure = with_neighbours(failure, error, places, of_series=origin.series is not None)
    return _OpenedInput(discovered, origin, image, failure=failure)


def _opened(
    discovered: DiscoveredInput, origin: Input, image: str, source: Source, options: ArchiveOptions
) -> _OpenedInput:
    header = header_of(source, options, discovered.kind)
    facts: dict[str, Any] = {
        key: value
        for key, value in source.metadata.items()
        if isinstance(value, (bool, int, float, str))
    }
    # Names of files and tables of the user win over nothing that the header says.
    facts = {**discovered.entities, **facts}
    facts |= kept_of(discovered.location, options.keep_metadata)
    facts |= discovered.kept
    facts = {key: _of_json(value) for key, value in facts.items()}
    if origin.series is not None:
        facts["_image"] = discovered.image
    if source.series_uid:
        facts[SERIES] = text_digest(source.series_uid)
    if without_pixels := getattr(source, "without_pixels", 0):  # of a DICOM folder
        facts[WITHOUT_PIXELS] = without_pixels
    return _OpenedInput(discovered, origin, image, header, source.grid, facts)


def _of_json(fact: Any) -> Any:
    """A fact as JSON can hold it: with infinity, an archive and its plan could not be read."""
    if not isinstance(fact, float) or math.isfinite(fact):
        return fact
    return None if math.isnan(fact) else str(fact)


def header_of(source: Source, options: ArchiveOptions, kind: Kind = "intensity") -> Header:
    """What a plan says of an image that is open."""
    outline, grid = Outline.of(source, kind, options.of_archive("", False)), source.grid
    return Header(
        shape=source.shape,
        spacing=tuple(float(mm) for mm in grid.spacing),  # type: ignore[arg-type]
        orientation="".join(grid.orientation),
        dtype=dtype_name(source.dtype),
        voxel_bytes=math.prod(source.shape) * source.dtype.itemsize,
        peak=outline.usual_peak,  # whoever converts it may have a larger budget than who plans
        inodes=inodes_of(outline),
    )


def _items(opened: Sequence[_OpenedInput], options: ArchiveOptions, digest: str) -> Iterator[Item]:
    """The archives of one subject: label maps go with the image whose voxels they mark."""
    images = [item for item in opened if item.discovered.kind == "intensity" or options.labels_only]
    labels = [item for item in opened if item not in images]
    layers: dict[int, list[_OpenedInput]] = {}
    for label in labels:
        home = _home(label, images)
        if home is None:
            images.append(label)
        else:
            layers.setdefault(images.index(home), []).append(label)
    for number, item in enumerate(images):
        yield _item(item, layers.get(number, []), digest)


def _home(label: _OpenedInput, images: Iterable[_OpenedInput]) -> _OpenedInput | None:
    """The image on whose grid a label map lies and whose entities agree best with its own."""
    best, largest = None, -1
    for image in images:
        if label.grid is None or image.grid is None or image.discovered.kind == "label":
            continue
        shared = bids.agreement(label.discovered.entities, image.discovered.entities)
        if shared is not None and shared > largest and image.grid.isclose(label.grid):
            best, largest = image, shared
    return best


def _item(opened: _OpenedInput, layers: Sequence[_OpenedInput], digest: str) -> Item:
    discovered, header = opened.discovered, opened.header
    if header is not None and layers:
        layer_bytes = sum(layer.header.voxel_bytes for layer in layers if layer.header)
        peaks = [header.peak, *(layer.header.peak for layer in layers if layer.header)]
        inodes = inodes_with_layers(header.inodes, [o.header.inodes for o in layers if o.header])
        header = replace(
            header, voxel_bytes=header.voxel_bytes + layer_bytes, peak=max(peaks), inodes=inodes
        )
    subject, image, kind = discovered.subject, opened.image, discovered.kind
    inputs = (opened.origin, *(layer.origin for layer in layers))
    dependences = subject, image, kind, inputs, discovered.kept, digest
    return Item(
        slug=slug(subject, image),
        subject=subject,
        image=image,
        kind=kind,
        origin=opened.origin,
        layers=tuple(Layer(layer.image, layer.origin) for layer in layers),
        header=header,
        facts=dict(opened.facts or discovered.entities),
        key=archive_key(*dependences),
        unstamped=archive_key(*dependences, stamped=False),
        failure=opened.failure,
    )


def _key(item: Item, kept: Mapping[str, Any], digest: str) -> str:
    """Digest of what the archive of an item depends on; see `archive_key`."""
    return archive_key(item.subject, item.image, item.kind, item.inputs, kept, digest)


def _told_apart(items: Sequence[Item]) -> list[Item]:
    """The same items, of which those that would become one archive fail, each by its name."""
    owners: dict[str, list[Item]] = {}
    for item in items:
        owners.setdefault(item.slug.lower(), []).append(item)
    return [
        one if len(same) == 1 else _failing(one, same) for same in owners.values() for one in same
    ]


def _failing(item: Item, same: Sequence[Item]) -> Item:
    others = [other.origin.source for other in same if other is not item]
    source = item.origin.source
    failure = item.failure or collision(source, item.image, item.subject, others)
    return replace(item, slug=slug(item.subject, item.image, source), failure=failure)
