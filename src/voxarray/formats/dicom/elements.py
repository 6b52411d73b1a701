"""The data elements of a DICOM header: where each stands, and the values of those that matter.

Encoding: DICOM PS3.5, chapter 7. An element is a tag, with explicit encoding a value
representation (VR), a length and a value. A sequence holds items, each of them elements again;
both may have an undefined length and then end with a delimiter.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from voxarray.core import portable
from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats.dicom.tags import PIXEL_TAGS, PRIVATE_BLOCKS, WANTED, name

UNDEFINED = 0xFFFFFFFF

ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD

_WIDE = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR"}) | {
    b"UT",
    b"UV",
}
"""VRs with a 32-bit length after two reserved bytes."""

_NARROW = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""VRs with a 16-bit length."""

_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "UL": "I", "US": "H"}

_WINDOW = 1 << 16
"""Bytes per read: most headers of single-frame files are shorter."""

_DEEPEST = 24
"""Nesting of sequences beyond which a header is nonsense, or hostile."""

_MOST_AT_TOP = 20_000
"""Elements outside of sequences; scanners write less than a thousand. A stretch of zeros that is
read as a header has more, for each eight of them are an element without a value."""

_MOST_ELEMENTS = 2_000_000
"""Elements and items in all, which takes some seconds: ten times as many as multi-frame files of
ten thousand frames have, if each is described by a few functional groups."""

_MOST_KEPT = 300_000
"""Values and items that are kept, in some 60 MiB."""

_LONGEST_CREATOR = 64
"""Bytes of the name of whoever reserves private elements; PS3.5, 6.2, VR LO."""

_LONGEST_VALUE = 1 << 20
"""Bytes of one value."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixels stand in a file.

    Attributes:
        tag: Pixel Data, Float Pixel Data or Double Float Pixel Data.
        vr: ``"OB"``, ``"OW"``, ...; empty in implicit headers.
        offset: Of the first byte of the value.
        length: Bytes, or `UNDEFINED` for encapsulated (compressed) pixels.
    """

    tag: int
    vr: str
    offset: int
    length: int


@dataclass(slots=True)
class Elements:
    """Values of the wanted elements of a header or of an item, decoded when they are asked for.

    Attributes:
        little: Whether numbers are little-endian.
        values: VR and bytes by tag; sequences as a list of items.
        pixels: Where the pixels stand; None in items, or if there are none.
    """

    little: bool
    values: dict[int, tuple[str, Any]] = field(default_factory=dict)
    pixels: PixelElement | None = None

    def __contains__(self, tag: int) -> bool:
        return tag in self.values

    def items(self, tag: int) -> list[Elements]:
        """Items of a sequence; none if it is not there."""
        vr, value = self.values.get(tag, ("", []))
        return value if vr == "SQ" else []

    def item(self, tag: int) -> Elements:
        """First item of a sequence, or an empty one."""
        return next(iter(self.items(tag)), Elements(self.little))

    def raw(self, tag: int) -> bytes:
        """The bytes of an element; none if it is not there."""
        vr, value = self.values.get(tag, ("", b""))
        return b"" if vr == "SQ" else value

    def texts(self, tag: int) -> tuple[str, ...]:
        """The values of an element of text, blanks and padding removed."""
        vr, value = self.values.get(tag, ("", b""))
        if vr == "SQ" or not value:
            return ()
        return tuple(part.strip(" \0") for part in value.decode("latin-1").split("\\"))

    def text(self, tag: int) -> str:
        """The first value of an element of text; empty if there is none."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The values of an element of numbers, finite.

        Raises:
            FormatError: For text that is no number (``BAD_NUMBER``); the text is not repeated.
        """
        vr, value = self.values.get(tag, ("", b""))
        if vr == "SQ" or not value:
            return ()
        code = _NUMBERS.get(vr)
        try:
            if code is None:
                values = tuple(float(text) for text in self.texts(tag) if text)
            else:
                size = struct.calcsize(code)
                order = "<" if self.little else ">"
                values = struct.unpack(f"{order}{len(value) // size}{code}", value)
        except (ValueError, struct.error):
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise FormatError(
                f"the element {name(tag)} does not hold the finite numbers it should: the header "
                "is damaged, export the file again",
                code="BAD_NUMBER",
            )
        return values

    def tags(self, tag: int) -> tuple[int, ...]:
        """The values of an element that names other elements."""
        order = "<" if self.little else ">"
        raw = self.raw(tag)
        halves = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
        return tuple(a << 16 | b for a, b in zip(halves[::2], halves[1::2], strict=True))

    def number(self, tag: int) -> float | None:
        """The first value of an element of numbers; None if there is none."""
        return next(iter(self.numbers(tag)), None)

    def integer(self, tag: int, default: int) -> int:
        """The first value of an element of whole numbers."""
        value = self.number(tag)
        return default if value is None else int(value)


class ElementParser:
    """Walks the elements of an open file and keeps the wanted ones.

    Args:
        fd: Descriptor of the file.
        size: Bytes in it.
        little: Whether the data set is little-endian.
    """

    def __init__(self, fd: int, size: int, *, little: bool = True) -> None:
        self._fd = fd
        self._size = size
        self._little = little
        order = "<" if little else ">"
        self._explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self._implicit = struct.Struct(f"{order}HHI").unpack_from
        self._length = struct.Struct(f"{order}I").unpack_from
        self._base = 0
        self._bytes = b""
        self._walked = self._at_top = self._kept = 0

    def parse(self, start: int, stop: int, *, explicit: bool, depth: int = 0) -> Elements:
        """Elements from ``start`` on, to the end, to the pixels or to the delimiter of an item."""
        return self._parse(start, stop, explicit, depth, True)[0]

    def is_explicit(self, start: int) -> bool:
        """Whether the element at ``start`` names its VR; some files say otherwise than they do."""
        vr = bytes(self._at(start, 6))[4:]
        return vr.isalpha() and vr.isupper()

    def groups(self, start: int) -> Iterator[tuple[int, int]]:
        """End and group of one element after another, from ``start`` on."""
        position = start
        while position + 8 <= self._size:
            tag, _, length, value = self._element(position, True)
            self._count(False, at_top=True)
            position = value + length
            yield position, tag >> 16

    def _parse(
        self, start: int, stop: int, explicit: bool, depth: int, keep: bool
    ) -> tuple[Elements, int]:
        if depth > _DEEPEST:
            raise FormatError(
                f"sequences are nested more than {_DEEPEST} deep: the header is damaged, export "
                "the file again",
                code="BAD_HEADER",
            )
        elements = Elements(self._little)
        position = start
        blocks: dict[int, int] = {}
        while position + 8 <= stop:
            tag, vr, length, value = self._element(position, explicit)
            if tag & 0x10000 and keep:
                tag = self._private(tag, length, value, blocks)
            if tag == _ITEM_END:
                return elements, value
            if tag in PIXEL_TAGS and depth == 0:
                elements.pixels = PixelElement(tag, vr.decode(), value, length)
                return elements, value
            known_vr = WANTED.get(tag) if keep else None
            is_value = known_vr not in (None, "SQ")
            self._count(known_vr is not None, at_top=depth == 0, length=length if is_value else 0)
            if known_vr == "SQ" or length == UNDEFINED:
                position = self._sequence(elements, tag, vr, value, length, explicit, depth, keep)
                continue
            position = value + length
            if position > stop:
                raise TruncatedError(
                    f"the element {name(tag)} ends at byte {position}, but the file or item that "
                    f"holds it ends at byte {stop}: copy or download the file again"
                )
            if known_vr is not None:
                kind = known_vr if vr in (b"", b"UN") else vr.decode()
                elements.values.setdefault(tag, (kind, bytes(self._at(value, length))))
        return elements, position

    def _private(self, tag: int, length: int, value: int, blocks: dict[int, int]) -> int:
        """A private tag with the number of the block that its creator has here.

        Args:
            tag: As the file has it.
            length: Bytes of its value.
            value: Where that begins.
            blocks: Blocks of this data set that known creators have reserved; added to.
        """
        group, block = tag >> 16, tag >> 8 & 0xFF
        if block == 0 and tag & 0xFF >= 0x10 and length <= _LONGEST_CREATOR:
            creator = bytes(self._at(value, length)).decode("latin-1").strip(" \0")
            reserved = PRIVATE_BLOCKS.get((group, creator))
            if reserved is None:
                return tag & ~0xFFFF  # what it reserves is nobody's that we know
            blocks[tag & 0xFF] = reserved
            return group << 16 | reserved
        reserved = blocks.get(block)
        return tag & ~0xFFFF if reserved is None else group << 16 | reserved << 8 | tag & 0xFF

    def _count(self, is_kept: bool, *, at_top: bool = False, length: int = 0) -> None:
        """Refuse a header with more in it than any real one has."""
        self._walked += 1
        self._at_top += at_top
        self._kept += is_kept
        if (
            self._walked > _MOST_ELEMENTS
            or self._at_top > _MOST_AT_TOP
            or self._kept > _MOST_KEPT
            or _LONGEST_VALUE < length < UNDEFINED
        ):
            raise FormatError(
                f"the header has {self._excess(length)}; the header is damaged, or the file "
                "should be split into files of fewer frames",
                code="BAD_HEADER",
            )

    def _excess(self, length: int) -> str:
        """Which limit is exceeded by what was counted, or by the bytes of the last value."""
        for number, limit, where in (
            (self._walked, _MOST_ELEMENTS, "in all"),
            (self._at_top, _MOST_AT_TOP, "outside of sequences"),
            (self._kept, _MOST_KEPT, "that describe the image"),
        ):
            if number > limit:
                return f"too many elements: at least {number} {where} (expected at most {limit})"
        return f"an element that is too long: {length} bytes (expected at most {_LONGEST_VALUE})"

    def _element(self, position: int, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR, length and the offset of the value of the element at a position."""
        start = position - self._base
        if start < 0 or start + 12 > len(self._bytes):
            self._load(position, 12)
            start = 0
        try:
            if explicit:
                group, number, vr, length = self._explicit(self._bytes, start)
                if vr in _NARROW:
                    return group << 16 | number, vr, length, position + 8
                if vr in _WIDE:
                    (length,) = self._length(self._bytes, start + 8)
                    return group << 16 | number, vr, length, position + 12
            # Delimiters have no VR, nor have elements that some writers copied as they were.
            group, number, length = self._implicit(self._bytes, start)
            return group << 16 | number, b"", length, position + 8
        except struct.error:
            raise TruncatedError(
                f"the header ends within an element, at byte {position}: copy or download the "
                "file again"
            ) from None

    def _sequence(
        self,
        elements: Elements,
        tag: int,
        vr: bytes,
        value: int,
        length: int,
        explicit: bool,
        depth: int,
        keep: bool,
    ) -> int:
        """Keep the items of a sequence if it is wanted; the position after it."""
        # PS3.5, 6.2.2, note 2: what is UN and of undefined length is implicit inside.
        inner_explicit = explicit and vr != b"UN"
        stop = self._size if length == UNDEFINED else value + length
        if stop > self._size:
            raise TruncatedError(
                f"the sequence {name(tag)} reaches beyond the end of the file: copy or download "
                "the file again"
            )
        is_wanted = keep and WANTED.get(tag) == "SQ"
        items: list[Elements] = []
        position = value
        while position + 8 <= stop:
            mark, _, size, start = self._element(position, False)
            if mark == SEQUENCE_END:
                position = start
                break
            if mark != ITEM:
                raise FormatError(
                    f"the sequence {name(tag)} holds data that are not items: the header is "
                    "damaged or truncated, copy or export the file again",
                    code="BAD_HEADER",
                )
            end = stop if size == UNDEFINED else start + size
            if end > stop:
                raise TruncatedError(
                    f"an item of {name(tag)} reaches beyond its sequence: the header is damaged, "
                    "copy or export the file again"
                )
            self._count(is_wanted)
            item, item_end = self._parse(start, end, inner_explicit, depth + 1, is_wanted)
            if is_wanted:
                items.append(item)
            position = item_end if size == UNDEFINED else end
        if is_wanted:
            elements.values.setdefault(tag, ("SQ", items))
        return position

    def _at(self, position: int, length: int) -> memoryview:
        start = position - self._base
        if start < 0 or start + length > len(self._bytes):
            self._load(position, length)
            start = 0
        return memoryview(self._bytes)[start : start + length]

    def _load(self, position: int, length: int) -> None:
        self._bytes = portable.pread(self._fd, max(length, _WINDOW), position)
        self._base = position
