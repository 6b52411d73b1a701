"""Which writer a suffix asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from voxarray.core.errors import UnsupportedError, VoxarrayError
from voxarray.core.memory import require
from voxarray.source.base import Source


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be saved, and how.

    Attributes:
        source: All voxels and their place.
        path: Destination.
        label: Whether it is a label map.
        overwrite: Whether to replace an archive; single files are replaced anyway.
        squeeze: Whether a single slice is written as two dimensions; None is the format's habit.
    """

    source: Source
    path: str
    label: bool
    overwrite: bool
    squeeze: bool | None

    def refuse_squeeze(self) -> None:
        """For formats whose axes are fixed.

        Raises:
            UnsupportedError: ``CANNOT_SQUEEZE``.
        """
        if self.squeeze:
            raise UnsupportedError(
                f"squeeze=True has no meaning for {self.path}: the format always has three "
                "spatial axes; leave it out",
                code="CANNOT_SQUEEZE",
                path=self.path,
            )


@dataclass(frozen=True, slots=True)
class Writer:
    """How images are saved in one format.

    Attributes:
        write: Saves one.
        peak: Bytes of memory that this needs, told from a source of which nothing is read.
    """

    write: Callable[[Request], None]
    peak: Callable[[Source], int]


def save(
    source: Source,
    path: str | os.PathLike[str],
    *,
    label: bool,
    overwrite: bool,
    squeeze: bool | None = None,
) -> None:
    """Write all voxels of a source in the format that the suffix of ``path`` names.

    Raises:
        UnsupportedError: If it names none (code ``UNKNOWN_SUFFIX``), or the format cannot hold the
            image; the writers say what they can.
        ArchiveExistsError: If an archive exists and ``overwrite`` is not set.
        MemoryBudgetError: If it needs more memory than allowed; nothing was read or written.
    """
    from voxarray.statistics.decoded_copies import staged, when_staged

    destination = os.path.expanduser(os.fspath(path))
    writer = _writer(destination)
    try:
        require(
            writer.peak(when_staged(source)),
            f"saving {os.path.basename(destination)}",
            "give a lazy array smaller blocks (image.rechunk), or raise the budget",
        )
        with staged(source, is_last=True) as ready:
            writer.write(Request(ready, destination, label, overwrite, squeeze))
    except VoxarrayError as error:
        error.path = error.path or destination
        raise


def _writer(destination: str) -> Writer:
    name = os.path.basename(destination).lower()
    # The longest suffix decides: .nii.zarr is an archive, and so is .ome.zarr.
    for suffix in sorted(WRITERS, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            return WRITERS[suffix]
    raise UnsupportedError(
        f"no format is known by the suffix of {destination!r}; known are {', '.join(WRITERS)}",
        code="UNKNOWN_SUFFIX",
        path=destination,
    )


def _nifti(request: Request) -> None:
    from voxarray.formats.nifti.write import write_nifti

    request.refuse_squeeze()
    write_nifti(request.source, request.path)


def _nifti_pair(request: Request) -> None:
    from voxarray.formats.nifti.write_pair import write_nifti_pair

    request.refuse_squeeze()
    write_nifti_pair(request.source, request.path)


def _nrrd(request: Request) -> None:
    from voxarray.formats.nrrd.write import write_nrrd

    write_nrrd(request.source, request.path, squeeze=bool(request.squeeze))


def _meta_image(request: Request) -> None:
    from voxarray.formats.metaimage.write import write_meta_image

    write_meta_image(request.source, request.path, squeeze=bool(request.squeeze))


def _mgh(request: Request) -> None:
    from voxarray.formats.mgh.write import write_mgh

    request.refuse_squeeze()
    write_mgh(request.source, request.path)


def _gipl(request: Request) -> None:
    from voxarray.formats.gipl.write import write_gipl

    request.refuse_squeeze()
    write_gipl(request.source, request.path)


def _vtk(request: Request) -> None:
    from voxarray.formats.vtk.write import write_vtk

    request.refuse_squeeze()
    write_vtk(request.source, request.path)


def _minc(request: Request) -> None:
    from voxarray.formats.minc.write import write_minc

    request.refuse_squeeze()
    write_minc(request.source, request.path)


def _hdf5(request: Request) -> None:
    from voxarray.formats.hdf5.write import write_hdf5

    write_hdf5(request.source, request.path, squeeze=bool(request.squeeze))


def _picture(request: Request) -> None:
    from voxarray.formats.pictures.write import write_picture

    write_picture(request.source, request.path)


def _tiff(request: Request) -> None:
    from voxarray.formats.pictures.write import write_tiff

    write_tiff(request.source, request.path)


def _archive(request: Request) -> None:
    from voxarray.archive.convert import convert
    from voxarray.archive.options import Options
    from voxarray.core.progress import bar

    request.refuse_squeeze()
    with bar(os.path.basename(request.path)) as report:
        convert(
            request.source,
            request.path,
            kind="label" if request.label else "intensity",
            options=Options(overwrite=request.overwrite),
            progress=report,
        )


def _streamed_peak(source: Source) -> int:
    from voxarray.formats._voxels.write_voxels import projected_peak

    return projected_peak(source)


def _archive_peak(source: Source) -> int:
    from voxarray.archive.convert import projected_peak

    return projected_peak(source)


def _held_peak(source: Source) -> int:
    from voxarray.formats._voxels.itk_writing import projected_peak

    return projected_peak(source)


def _streamed(write: Callable[[Request], None]) -> Writer:
    return Writer(write, _streamed_peak)


WRITERS: dict[str, Writer] = {
    ".nii": _streamed(_nifti),
    ".nii.gz": _streamed(_nifti),
    ".img": _streamed(_nifti_pair),
    ".hdr": _streamed(_nifti_pair),
    ".img.gz": _streamed(_nifti_pair),
    ".hdr.gz": _streamed(_nifti_pair),
    ".nrrd": _streamed(_nrrd),
    ".nhdr": _streamed(_nrrd),
    ".mha": _streamed(_meta_image),
    ".mhd": _streamed(_meta_image),
    ".mgh": _streamed(_mgh),
    ".mgz": _streamed(_mgh),
    ".mnc": Writer(_minc, _held_peak),
    ".vtk": _streamed(_vtk),
    ".gipl": _streamed(_gipl),
    ".gipl.gz": _streamed(_gipl),
    ".h5": Writer(_hdf5, _held_peak),
    ".hdf5": Writer(_hdf5, _held_peak),
    ".tif": _streamed(_tiff),
    ".tiff": _streamed(_tiff),
    ".png": _streamed(_picture),
    ".jpg": _streamed(_picture),
    ".jpeg": _streamed(_picture),
    ".bmp": _streamed(_picture),
    ".ome.zarr": Writer(_archive, _archive_peak),
    ".zarr": Writer(_archive, _archive_peak),
    ".nii.zarr": Writer(_archive, _archive_peak),
    ".ozx": Writer(_archive, _archive_peak),
}
"""Writer of each suffix, in the order in which an error lists them."""
