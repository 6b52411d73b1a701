"""Opening the inputs of an item, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from voxarray.archive.metadata import Label
from voxarray.archive.options import LabelLayer
from voxarray.cohort.plan.archive_names import text_digest
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.cohort.plan.item import Input, Item
from voxarray.core.errors import FormatError, MissingFileError, SourceChangedError
from voxarray.core.sent_records import SentRecord
from voxarray.formats.registry import names_archive, open_source
from voxarray.source.base import Source


@dataclass(frozen=True, slots=True)
class Opened:
    """An image and its label maps, of which only headers were read.

    Attributes:
        source: The image.
        table: Names and colours, if it is a label map.
        layers: Its label maps, by name.
        kept: Fields that the user asked to keep.
    """

    source: Source
    table: tuple[Label, ...] = ()
    layers: Mapping[str, LabelLayer] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)


class Opener(Protocol):
    """Opens the inputs of an item; can be pickled."""

    @property
    def places(self) -> dict[str, str]:
        """Locations of all inputs, with their names for the user."""

    def open(self, item: Item) -> Opened:
        """Open the image and its label maps.

        Raises:
            VoxarrayError: What is wrong with them; `SourceChangedError` if they are no longer
                those that were planned.
        """


@dataclass(frozen=True, slots=True)
class FileOpener(SentRecord):
    """Opens files, folders and URLs.

    Attributes:
        locations: Locations of the inputs, by their names for the user.
    """

    locations: Mapping[str, str]

    @property
    def places(self) -> dict[str, str]:
        return {location: name for name, location in self.locations.items()}

    def open(self, item: Item) -> Opened:
        source = self._open(item.origin)
        layers = {}
        for layer in item.layers:
            opened = self._open(layer.origin)
            layers[layer.name] = LabelLayer(opened, opened.label_table)
        return Opened(source, source.label_table, layers)

    def _open(self, origin: Input) -> Source:
        name, layer = origin.source, ""
        location = self.locations.get(name)
        if location is None:
            name, layer = divided(name)
            location = self.locations.get(name)
        if location is None:
            raise MissingFileError(
                f"none of the given sources holds {origin.source}: give the sources that the "
                "cohort was made from",
                code="OTHER_SOURCE",
            )
        if InputFingerprint.of(location) != origin.stamp:
            raise SourceChangedError(
                f"{location} was changed after it was planned: convert again. For parts of a plan, "
                "plan again first",
                path=location,
            )
        return open_series(f"{location}{layer}", origin.series)


_LABELS = "/labels/"


def divided(source: str) -> tuple[str, str]:
    """The archive that a source names, and what names the label map in it; "" if none is."""
    archive, between, label = source.rpartition(_LABELS)
    if not between or "/" in label or not names_archive(archive):
        return source, ""
    return archive, f"{between}{label}"


def open_series(location: str, series: str | None) -> Source:
    """The image at a location, or one of the series in a folder, by the digest of its UID."""
    if series is None:
        return open_source(location)
    from voxarray.formats.dicom.read import DicomReader

    for listed_series in DicomReader().list_series(location):
        if text_digest(listed_series.uid) == series:
            return DicomReader(listed_series.uid).open(location)
    raise FormatError(
        f"{location} no longer holds the series that was planned: plan again",
        code="UNKNOWN_SERIES",
        path=location,
    )
