"""Which of many files make one image, and whether they agree enough to make it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from voxarray.core.errors import FormatError
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.acquisition import MODALITIES
from voxarray.formats.dicom.frame import Frame
from voxarray.formats.dicom.header import Header
from voxarray.formats.dicom.pixel_layout import PixelLayout

_EVEN = 0.05
"""Share of the stated spacing by which a multiple of it may be off."""


@dataclass(frozen=True, slots=True)
class Series:
    """Files that share a Series Instance UID.

    Attributes:
        uid: That UID; it may lead to the patient, so that no message repeats it.
        number: Series Number; None if there is none.
        modality: Such as ``"CT"``; empty if it is none of the standard's.
        files: How many.
        images: How many of them hold pixels.
        size: (W, H) of the first image; None if there is none.
    """

    uid: str
    number: int | None
    modality: str
    files: int
    images: int
    size: tuple[int, int] | None

    def __str__(self) -> str:
        number = "without number" if self.number is None else f"number {self.number}"
        size = "" if self.size is None else f" of {self.size[0]} x {self.size[1]}"
        return f"{number} ({self.modality or 'modality unknown'}, {self.images} images{size})"


def list_series(headers: Iterable[Header]) -> list[tuple[Series, list[Header]]]:
    """The series among files, by number, with their files."""
    groups: dict[str, list[Header]] = {}
    for header in headers:
        groups.setdefault(header.series, []).append(header)
    listed = [(_described(uid, group), group) for uid, group in groups.items()]
    return sorted(listed, key=lambda pair: (pair[0].number or 0, pair[0].uid))


def choose(headers: Sequence[Header], series: str | int | None) -> list[Header]:
    """The files of the series that was asked for, or of the only one that has images.

    Args:
        headers: Of all files.
        series: Series Instance UID or Series Description as text, or Series Number.

    Raises:
        FormatError: ``MULTIPLE_SERIES``, ``UNKNOWN_SERIES``, or ``NO_PIXEL_DATA``.
    """
    candidates = list_series(headers)
    if series is None:
        # Reports, contours and plans come in series of their own, without any pixels.
        candidates = [pair for pair in candidates if pair[0].images] or candidates
        if len(candidates) > 1 and candidates[0][0].images:
            raise FormatError(
                f"the files belong to {len(candidates)} series: {_listed(candidates)}. Choose one "
                "with reader=vx.DicomReader(series=number), or its UID or description as text; "
                "vx.DicomReader().list_series(path) has the UIDs",
                code="MULTIPLE_SERIES",
            )
    else:
        candidates = _matching(candidates, series)
    files = [header for _, group in candidates for header in group]
    without = sum(header.layout is None for header in files)
    if without:
        raise FormatError(
            f"{without} of {len(files)} files {'holds' if without == 1 else 'hold'} no pixels: "
            "expected images, not reports, plans or indices. Choose another series, or move these "
            "files elsewhere",
            code="NO_PIXEL_DATA",
        )
    return files


def require_alike(layouts: Sequence[PixelLayout], frames: Sequence[Frame]) -> None:
    """Refuse planes that cannot stand in one array.

    Raises:
        FormatError: ``LOCALIZER``, ``MIXED_SIZE``, ``MIXED_DTYPE`` or ``MIXED_SCALING``.
    """
    scouts = sum(frame.is_localizer for frame in frames)
    if 0 < scouts < len(frames):
        raise FormatError(
            f"{scouts} of {len(frames)} planes "
            f"{'is a localizer' if scouts == 1 else 'are localizers'}: move such planes to "
            "another folder; the other planes make the image",
            code="LOCALIZER",
        )
    sizes = Counter((layout.columns, layout.rows) for layout in layouts)
    if len(sizes) > 1:
        listed = ", ".join(f"{n} of {w} x {h}" for (w, h), n in sizes.most_common(8))
        raise FormatError(
            f"files hold planes of different size: {listed} (columns x rows); expected one size: "
            "put the planes of each size into a folder of their own",
            code="MIXED_SIZE",
        )
    kinds = Counter((layout.dtype.name, layout.samples) for layout in layouts)
    photometric = {layout.photometric for layout in layouts if layout.samples == 1}
    if len(kinds) > 1 or len(photometric) > 1:
        listed = ", ".join(f"{n} of {name} x {s}" for (name, s), n in kinds.most_common(8))
        raise FormatError(
            f"files hold different kinds of numbers: {listed} "
            f"samples{', some of them inverted' if len(photometric) > 1 else ''}; expected one "
            "kind: put the files of each kind into a folder of their own",
            code="MIXED_DTYPE",
        )
    without = sum(not frame.has_rescale for frame in frames)
    if 0 < without < len(frames):
        raise FormatError(
            f"{without} of {len(frames)} planes {'states' if without == 1 else 'state'} no "
            "rescale slope and intercept, unlike the other planes: nothing says whether their "
            "numbers mean the same; open both kinds separately, or add slope 1 and intercept 0 to "
            "planes whose numbers are intensities already",
            code="MIXED_SCALING",
        )


def remark_on_skipped_slices(frames: Sequence[Frame], slices: Sequence[int], step: float) -> str:
    """What hints at slices that are missing evenly, such as every second; empty if nothing does.

    Positions alone do not tell. Numbers of instances that skip as many as the stated spacing goes
    into the real one do: either alone is what some scanners write.

    Args:
        frames: The planes.
        slices: The slice of each.
        step: Millimetres between slices.
    """
    stated = frames[0].slice_spacing
    at = {z: frame.order[0] for frame, z in zip(frames, slices, strict=True)}
    if len(at) != len(frames) or len(at) < 2 or not stated:
        return ""
    numbers = [at[z] for z in sorted(at)]
    skipped = {abs(b - a) for a, b in pairwise(numbers)}
    times = round(step / stated)
    if skipped != {times} or times < 2 or abs(step / stated - times) > _EVEN:
        return ""
    return (
        f"slices are {step:g} mm apart, but the header states {stated:g} mm, and the Instance "
        f"Numbers of neighbouring slices differ by {times}: {times - 1} of every {times} slices "
        "may be missing"
    )


def _matching(
    candidates: list[tuple[Series, list[Header]]], series: str | int
) -> list[tuple[Series, list[Header]]]:
    if isinstance(series, int):
        matching = [pair for pair in candidates if pair[0].number == series]
    else:
        matching = [pair for pair in candidates if pair[0].uid == series] or [
            pair
            for pair in candidates
            if any(h.elements.text(tags.SERIES_DESCRIPTION) == series for h in pair[1])
        ]
    if not matching:
        raise FormatError(
            f"no series has the number, UID or description that was given: there are "
            f"{_listed(candidates)}",
            code="UNKNOWN_SERIES",
        )
    if len(matching) > 1:
        raise FormatError(
            f"{len(matching)} series match: {_listed(matching)}. Choose one by its UID, as "
            "vx.DicomReader().list_series(path) gives it",
            code="MULTIPLE_SERIES",
        )
    return matching


def _described(uid: str, group: Sequence[Header]) -> Series:
    first = group[0].elements
    number = first.number(tags.SERIES_NUMBER)
    modality = first.text(tags.MODALITY)
    layouts = [header.layout for header in group if header.layout is not None]
    return Series(
        uid,
        None if number is None else int(number),
        modality if modality in MODALITIES else "",
        files=len(group),
        images=len(layouts),
        size=(layouts[0].columns, layouts[0].rows) if layouts else None,
    )


def _listed(series_list: Sequence[tuple[Series, list[Header]]]) -> str:
    text = "; ".join(str(series) for series, _ in series_list[:12])
    return text if len(series_list) <= 12 else f"{text}; and {len(series_list) - 12} more"
