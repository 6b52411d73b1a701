"""Opening a folder of DICOM files, or one of them, as an image."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_by_code, warn_caller
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
    naming_errors_of_system,
)
from voxarray.core.given_paths import path_texts
from voxarray.core.memory import require
from voxarray.core.scaling import Scaling
from voxarray.formats.dicom import tags
from voxarray.formats.dicom.acquisition import facts_of_volumes
from voxarray.formats.dicom.detect import dicom_files
from voxarray.formats.dicom.frame import Frame
from voxarray.formats.dicom.frames import frames_of
from voxarray.formats.dicom.geometry import Stack, stack
from voxarray.formats.dicom.header import Header, read_header
from voxarray.formats.dicom.pixels import PixelFile
from voxarray.formats.dicom.series import (
    Series,
    choose,
    list_series,
    remark_on_skipped_slices,
    require_alike,
)
from voxarray.formats.dicom.source import DicomSource
from voxarray.formats.dicom.volumes import EMPTY, Volumes, arrange
from voxarray.source.base import Source
from voxarray.source.materialise import materialise
from voxarray.storage.remote.address import as_local

_NO_SCALING = Scaling(1.0, 0.0)

_HEADER_BYTES = 12 << 10
"""Memory of the elements that are kept of a header, of the objects made of them, and of parsing."""

Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, slots=True)
class DicomReader:
    """Chooses one of several DICOM series in a folder; pass it as ``reader`` of an image.

    Examples:
        >>> reader = vx.DicomReader(series=4)
        >>> ct = vx.ScalarImage("folder", reader=reader, verify_path=False)  # opened when used

    Args:
        series: Series Number, or Series Instance UID or Series Description as text; None where
            there is only one series.
    """

    series: str | int | None = None

    def open(self, path: Files) -> Source:
        """The image in a folder, in one file, or in a list of files; only headers are read.

        Raises:
            MissingFileError: If there is nothing there, or the list is empty.
            FormatError: If the files are not one image; the code says why.
        """
        return _open(path, self.series)

    def list_series(self, path: Files) -> list[Series]:
        """All series in a folder or among files, by number."""
        return [series for series, _ in list_series(_headers(path))]

    def __call__(self, path: Files) -> tuple[NDArray, NDArray[np.float64]]:
        """Voxels (C, W, H, D) and affine (4, 4) in RAS+ mm; all voxels are read."""
        source = self.open(path)
        return materialise(source, source.dtype), source.affine


def open_dicom(path: str) -> Source:
    """The image in a folder of DICOM files or in one of them; only headers are read.

    Raises:
        As `DicomReader.open`.
    """
    return _open(path, None)


def _open(path: Files, series: str | int | None) -> Source:
    where = os.path.abspath(_texts(path)[0])
    try:
        headers = _headers(path)
        source = _build(where, choose(headers, series))
    except VoxarrayError as error:
        error.path = error.path or where
        raise
    return replace(source, without_pixels=sum(header.layout is None for header in headers))


def _texts(path: Files) -> list[str]:
    texts = [as_local(text) for text in path_texts(path)]
    if not texts:
        raise MissingFileError("the list of DICOM files is empty: give at least one")
    return texts


def _headers(path: Files) -> list[Header]:
    first, *_ = texts = _texts(path)
    if not isinstance(path, (str, os.PathLike)) or not os.path.isdir(first):
        return [_header(os.path.abspath(file)) for file in texts]
    with naming_errors_of_system(first):
        files = dicom_files(os.path.abspath(first))
    if not files:
        raise FormatError(
            f"the folder {first} holds no DICOM files: give the folder of one series",
            code="NOT_DICOM",
            path=first,
        )
    require(
        len(files) * _HEADER_BYTES,
        lambda: f"reading the headers of the {len(files)} files in {first}",
        "open a list of some of the files, or raise the budget",
    )
    return [_header(file) for file in files]


def _header(path: str) -> Header:
    with naming_errors_of_system(path):
        return read_header(path)


def _build(path: str, headers: Sequence[Header]) -> DicomSource:
    frames = [frame for n, header in enumerate(headers) for frame in frames_of(header, n)]
    layouts = [header.layout for header in headers if header.layout is not None]
    require_alike(layouts, frames)
    with_holes = any(h.elements.text(tags.SEGMENTATION_TYPE) for h in headers)
    geometry = stack(frames, with_holes=with_holes)
    _warn(path, frames, geometry)
    stated = headers[0].elements.number(tags.TEMPORAL_POSITIONS)
    volumes = arrange(
        frames,
        geometry.slices,
        geometry.depth,
        stated=None if stated is None else int(stated),
        with_holes=with_holes,
    )
    if layouts[0].samples > 1 and len(volumes.planes) > 1:
        raise UnsupportedError(
            f"{len(volumes.planes)} volumes of {layouts[0].samples} colours each: the channel "
            "axis can hold either volumes or colours; convert the files to grey, or open their "
            "frames one by one",
            code="COLOUR_SERIES",
        )
    scalings, scaling_of = _scalings(frames, volumes)
    return DicomSource(
        path=path,
        files=tuple(PixelFile(h.identity, h.layout) for h in headers if h.layout is not None),
        planes=_by_slice(volumes, lambda f: (f.file, f.index), frames, (EMPTY, 0)),
        scalings=scalings,
        scaling_of=scaling_of,
        affine=geometry.affine,
        channels=volumes.channels,
        facts=facts_of_volumes(
            [[frames[n].facts for n in row if n != EMPTY] for row in volumes.planes]
        ),
        series_uid=headers[0].series,
    )


def _warn(path: str, frames: Sequence[Frame], geometry: Stack) -> None:
    """Warn of what was taken to be so, once each."""
    remarks = dict.fromkeys(remark for frame in frames for remark in frame.remarks)
    if frames[0].axes != "patient":
        text = f"planes are placed relative to the {frames[0].axes}, not to the patient"
        remarks[f"{text}: axes of the world are those of the {frames[0].axes}"] = None
    step = float(np.linalg.norm(geometry.affine[:3, 2]))
    for remark in (*remarks, remark_on_skipped_slices(frames, geometry.slices, step)):
        if remark:
            warn_caller(f"{remark} [{path}]", VoxarrayWarning)
    if any("photometric_interpretation" in frame.facts for frame in frames):
        warn_by_code(
            "MONOCHROME1",
            "small values are shown bright, and large ones dark (Photometric Interpretation "
            "MONOCHROME1). The voxels are those of the file; SimpleITK inverts them. Where large "
            f"has to mean bright, use image.array.max() - image.array [{path}]",
        )


def _scalings(
    frames: Sequence[Frame], volumes: Volumes
) -> tuple[tuple[Scaling, ...] | None, NDArray[np.intp]]:
    """Distinct scalings, and the number of that of each plane."""
    distinct = list(dict.fromkeys(frame.scaling or _NO_SCALING for frame in frames))
    numbers = _by_slice(
        volumes, lambda frame: distinct.index(frame.scaling or _NO_SCALING), frames, 0
    )
    return None if distinct == [_NO_SCALING] else tuple(distinct), numbers


def _by_slice(
    volumes: Volumes, value: Callable[[Frame], Any], frames: Sequence[Frame], empty: Any
) -> NDArray[np.intp]:
    rows = [
        [empty if n == EMPTY else value(frames[n]) for n in row] for row in volumes.planes.tolist()
    ]
    return np.array(rows, np.intp)
