"""One image of a plan: its inputs and its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxarray.archive.metadata import Kind
from voxarray.cohort.plan.fingerprint import InputFingerprint
from voxarray.core.sent_records import SentRecord


@dataclass(frozen=True, slots=True)
class Failure(SentRecord):
    """Why an image has no archive.

    Attributes:
        code: Error code.
        message: What was seen, what was expected, what to do; without the path of the source.
        file: Name of the input that is at fault, for the user.
        permanent: Whether the same bytes would fail again, since the file itself is at fault.
    """

    code: str
    message: str
    file: str
    permanent: bool = False

    def to_json(self) -> dict[str, Any]:
        """The content for plans and journals, which `from_json` reads."""
        # Files keep the key of release 0.1, since other releases read it.
        content = _fields(self)
        content["lasting"] = content.pop("permanent")
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Failure:
        """The failure that `to_json` wrote, without what a newer release may add to it.

        Raises:
            KeyError, TypeError: For other content.
        """
        code, message, file = (content[name] for name in ("code", "message", "file"))
        permanent = content.get("lasting", False)
        texts = (code, message, file)
        if not all(isinstance(text, str) for text in texts) or not isinstance(permanent, bool):
            raise TypeError(
                "the entry of a failed image must have the texts code, message and file, and "
                "lasting must be true or false"
            )
        return cls(code, message, file, permanent)


@dataclass(frozen=True, slots=True)
class Input(SentRecord):
    """A file, folder or URL, as it was when it was planned.

    Attributes:
        source: Its name for the user.
        stamp: Fingerprint of its files.
        header: Digest of its first bytes.
        series: Digest of the UID of the series, if the folder holds several.
    """

    source: str
    stamp: InputFingerprint
    header: str = ""
    series: str | None = None


@dataclass(frozen=True, slots=True)
class Layer(SentRecord):
    """A label map that is archived with its image.

    Attributes:
        name: In the archive, and in the subject.
        origin: What it is made from.
    """

    name: str
    origin: Input


@dataclass(frozen=True, slots=True)
class Header(SentRecord):
    """Facts from the header of an image.

    Attributes:
        shape: (C, W, H, D).
        spacing: mm.
        orientation: Such as ``"LPS"``.
        dtype: As voxels are presented.
        voxel_bytes: Of all voxels, label maps included.
        peak: Projected bytes of memory at the peak of its conversion.
        inodes: Files and folders of its archive at most, where that is a folder; 0 in plans of
            release 0.2.0 and before.
    """

    shape: tuple[int, int, int, int]
    spacing: tuple[float, float, float]
    orientation: str
    dtype: str
    voxel_bytes: int
    peak: int
    inodes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(SentRecord):
    """One image, and the label maps that are archived with it.

    Attributes:
        slug: Name of its archive.
        subject: Whose it is.
        image: Its name in the subject.
        kind: Whether it is a label map itself.
        origin: What it is made from.
        layers: Its label maps.
        header: None if it could not be opened.
        facts: Columns of the catalogue that are known from names, headers and tables.
        key: Digest of the inputs, their label maps and the options.
        unstamped: The same digest without the fingerprints of the inputs; empty in plans of release
            0.2.0 and before, and for archives that are not made from files.
        failure: Why it cannot be converted, if that is known from its header.
    """

    slug: str
    subject: str
    image: str
    kind: Kind
    origin: Input
    layers: tuple[Layer, ...] = ()
    header: Header | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    key: str
    unstamped: str = ""
    failure: Failure | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What it is made from: the image first, then its label maps."""
        return (self.origin, *(layer.origin for layer in self.layers))

    @property
    def size(self) -> int:
        """Bytes of voxels; those of the file if the header could not be read."""
        return self.origin.stamp.size if self.header is None else self.header.voxel_bytes

    def to_json(self) -> dict[str, Any]:
        """The content of a row of the plan, which `from_json` reads."""
        return {
            **_fields(self),
            "origin": _input_to_json(self.origin),
            "layers": [
                {"name": layer.name, "origin": _input_to_json(layer.origin)}
                for layer in self.layers
            ],
            "header": self.header and _fields(self.header),
            "facts": dict(self.facts),
            "failure": self.failure and self.failure.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Item:
        """The item that `to_json` wrote; raises KeyError or TypeError for other content."""
        header, failure = content["header"], content["failure"]
        return cls(
            slug=content["slug"],
            subject=content["subject"],
            image=content["image"],
            kind=content["kind"],
            origin=_input(content["origin"]),
            layers=tuple(
                Layer(layer["name"], _input(layer["origin"])) for layer in content["layers"]
            ),
            header=header and _header(header),
            facts=content["facts"],
            key=content["key"],
            unstamped=content.get("unstamped", ""),
            failure=failure and Failure.from_json(failure),
        )


def _fields(record: Failure | Header | Input | InputFingerprint | Item) -> dict[str, Any]:
    """Values of a dataclass by field; unlike `dataclasses.asdict`, it does not copy them."""
    return {name: getattr(record, name) for name in record.__slots__}


def _input_to_json(origin: Input) -> dict[str, Any]:
    return {**_fields(origin), "stamp": _fields(origin.stamp)}


def _header(content: Mapping[str, Any]) -> Header:
    shape, spacing = tuple(content["shape"]), tuple(content["spacing"])
    return Header(**{**content, "shape": shape, "spacing": spacing})


def _input(content: Mapping[str, Any]) -> Input:
    return Input(**{**content, "stamp": InputFingerprint(**content["stamp"])})
