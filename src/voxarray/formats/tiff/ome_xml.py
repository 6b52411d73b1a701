"""OME-XML in a TIFF file: which files hold the image, and what it says of sizes.

Schema: https://docs.openmicroscopy.org/ome-model. Every file of a set may describe all of them, so
that each opens the same image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from voxarray.core.errors import FormatError, VoxarrayError
from voxarray.formats._voxels.picture_checks import first_description
from voxarray.geometry.units import length_in_mm, seconds

_DEFAULT_LENGTH, _DEFAULT_TIME = "\u00b5m", "s"  # of the schema, where no unit is given


@dataclass(frozen=True, slots=True)
class OmeXml:
    """The document in the first description of a file.

    Attributes:
        root: Its top element.
        file_name: Name of the file in which it stands.
    """

    root: ElementTree.Element
    file_name: str

    @classmethod
    def parse(cls, text: str, file_name: str) -> OmeXml:
        """The document of a file.

        Raises:
            FormatError: It is no XML, or defines entities (``BAD_HEADER``): a few lines of these
                can stand for gigabytes.
        """
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise FormatError("the OME-XML defines entities: remove them", code="BAD_HEADER")
        try:
            return cls(ElementTree.fromstring(text), file_name)  # noqa: S314  # entities are refused
        except ElementTree.ParseError as error:
            raise FormatError(
                f"the OME-XML is damaged ({error}): export the image again", code="BAD_HEADER"
            ) from None

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> OmeXml | None:
        """The document in a TIFF file; None where there is none that can be read."""
        try:
            text = first_description(path)
            return cls.parse(text, os.path.basename(path)) if is_ome(text) else None
        except (OSError, VoxarrayError):
            return None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that hold the planes, in the order of the document, its own included.

        A file is told from the others by its UUID, so that it may have been renamed itself.
        """
        root = self.root.get("UUID")
        names_by_uuid: dict[str, str] = {}
        for element in _elements(self.root, "UUID"):
            uuid, name = (element.text or "").strip(), element.get("FileName", "")
            if root is None and name.lower() == self.file_name.lower():
                root = uuid
            names_by_uuid.setdefault(uuid, name)
        names = [self.file_name if uuid == root else name for uuid, name in names_by_uuid.items()]
        return tuple(dict.fromkeys(names)) if self.file_name in names else (self.file_name, *names)

    @property
    def described_in(self) -> str | None:
        """The file that describes the image where this one holds planes only; else None."""
        for element in self.root:
            if _tag(element) == "BinaryOnly":
                return element.get("MetadataFile")
        return None

    def pixels(self, name: str, sizes: Mapping[str, int]) -> list[ElementTree.Element]:
        """Descriptions that fit an image, by its sizes and, where several do, by its name.

        Args:
            name: Of the image; may be empty.
            sizes: By axis, such as ``{"X": 512}``.
        """
        fitting = [
            (image.get("Name", ""), pixels)
            for image in _elements(self.root, "Image")
            for pixels in image
            if _tag(pixels) == "Pixels"
            and all(pixels.get(f"Size{axis}") == str(n) for axis, n in sizes.items())
        ]
        by_name = [pixels for image_name, pixels in fitting if image_name == name]
        return by_name or [pixels for _, pixels in fitting]


@dataclass(frozen=True, slots=True)
class OmeSizes:
    """What ``Pixels`` say of a voxel.

    Attributes:
        spacing: Millimetres along X, Y and Z; None where nothing usable is said.
        step: Seconds between volumes; 0 if unknown.
        remarks: What was said and cannot be used.
    """

    spacing: tuple[float | None, float | None, float | None]
    step: float
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, pixels: Sequence[ElementTree.Element]) -> OmeSizes:
        """Of the descriptions that fit an image, which must agree."""
        if not pixels:
            return cls((None, None, None), 0.0, ())
        read = [cls._of(element) for element in pixels]
        if any(other != read[0] for other in read):
            remark = (
                "AMBIGUOUS_SPACING: the OME-XML describes several images of this shape, whose "
                "voxel sizes or time steps differ; none of them is used: give the image its affine "
                "(affine=), or export it into a file of its own"
            )
            return cls((None, None, None), 0.0, (remark,))
        return read[0]

    @classmethod
    def _of(cls, pixels: ElementTree.Element) -> OmeSizes:
        remarks: list[str] = []
        x, y, z = (_millimetres(pixels, axis, remarks) for axis in "XYZ")
        step = _number(pixels.get("TimeIncrement"))
        unit = pixels.get("TimeIncrementUnit", _DEFAULT_TIME)
        return cls((x, y, z), (step or 0.0) * seconds(unit), tuple(remarks))


def is_ome(description: str) -> bool:
    """Whether a description is OME-XML."""
    return description.rstrip().endswith("OME>")


def part_of_another(path: str | os.PathLike[str]) -> bool:
    """Whether a file beside a TIFF file stands for the image in whose set it is.

    That is the first file of the set, in the order of its document, which describes all of them.
    """
    document = OmeXml.of_file(path)
    if document is None:
        return False
    folder, name = os.path.split(os.fspath(path))
    for candidate in (document.described_in,) if document.described_in else document.files:
        if candidate == name:
            return False
        other = None if _leads_out(candidate) else OmeXml.of_file(os.path.join(folder, candidate))
        if other is not None and not other.described_in and name in other.files:
            return True
    return False


def files_of_set(path: str | os.PathLike[str]) -> list[str]:
    """A TIFF file, and the others that hold planes of the same image."""
    document = OmeXml.of_file(path)
    if document is None:
        return [os.fspath(path)]
    folder = os.path.dirname(path)
    return [os.path.join(folder, name) for name in document.files if not _leads_out(name)]


def _leads_out(name: str) -> bool:
    """Whether a name leads out of its folder; opening such a set is refused (``OUTSIDE_ROOT``)."""
    return os.path.isabs(name) or os.path.normpath(name).startswith(os.pardir)


def _millimetres(pixels: ElementTree.Element, axis: str, remarks: list[str]) -> float | None:
    text = pixels.get(f"PhysicalSize{axis}")
    if text is None:
        return None
    unit = pixels.get(f"PhysicalSize{axis}Unit", _DEFAULT_LENGTH)
    size, factor = _number(text), length_in_mm(unit)
    if size is None or factor is None:
        remarks.append(
            f"BAD_SPACING: PhysicalSize{axis} is {text[:40]!r} {unit[:40]!r}, not a valid length"
        )
        return None
    return size * factor


def _number(text: str | None) -> float | None:
    """A finite number above 0; None for all else."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _elements(root: ElementTree.Element, tag: str) -> Iterator[ElementTree.Element]:
    return (element for element in root.iter() if _tag(element) == tag)


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
