"""Which writer a suffix asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from voxarray.errors import UnsupportedError, VoxarrayError
from voxarray.sources.base import Source


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


Writer = Callable[[Request], None]


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
    """
    from voxarray.ops.staged import staged

    destination = os.path.expanduser(os.fspath(path))
    writer = _writer(destination)
    try:
        with staged(source, is_last=True) as ready:
            writer(Request(ready, destination, label, overwrite, squeeze))
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
    from voxarray.writers.nifti import write_nifti

    request.refuse_squeeze()
    write_nifti(request.source, request.path)


def _nifti_pair(request: Request) -> None:
    from voxarray.writers.nifti_pair import write_nifti_pair

    request.refuse_squeeze()
    write_nifti_pair(request.source, request.path)


def _nrrd(request: Request) -> None:
    from voxarray.writers.nrrd import write_nrrd

    write_nrrd(request.source, request.path, squeeze=bool(request.squeeze))


def _meta_image(request: Request) -> None:
    from voxarray.writers.meta_image import write_meta_image

    write_meta_image(request.source, request.path, squeeze=bool(request.squeeze))


def _mgh(request: Request) -> None:
    from voxarray.writers.big_endian import write_mgh

    request.refuse_squeeze()
    write_mgh(request.source, request.path)


def _gipl(request: Request) -> None:
    from voxarray.writers.big_endian import write_gipl

    request.refuse_squeeze()
    write_gipl(request.source, request.path)


def _vtk(request: Request) -> None:
    from voxarray.writers.big_endian import write_vtk

    request.refuse_squeeze()
    write_vtk(request.source, request.path)


def _minc(request: Request) -> None:
    from voxarray.writers.itk import write_minc

    request.refuse_squeeze()
    write_minc(request.source, request.path)


def _hdf5(request: Request) -> None:
    from voxarray.writers.itk import write_hdf5

    write_hdf5(request.source, request.path, squeeze=bool(request.squeeze))


def _picture(request: Request) -> None:
    from voxarray.writers.pictures import write_picture

    write_picture(request.source, request.path)


def _tiff(request: Request) -> None:
    from voxarray.writers.pictures import write_tiff

    write_tiff(request.source, request.path)


def _archive(request: Request) -> None:
    from voxarray.archive.convert import convert
    from voxarray.archive.options import Options
    from voxarray.progress import bar

    request.refuse_squeeze()
    with bar(os.path.basename(request.path)) as report:
        convert(
            request.source,
            request.path,
            kind="label" if request.label else "intensity",
            options=Options(overwrite=request.overwrite),
            progress=report,
        )


WRITERS: dict[str, Writer] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".img": _nifti_pair,
    ".hdr": _nifti_pair,
    ".img.gz": _nifti_pair,
    ".hdr.gz": _nifti_pair,
    ".nrrd": _nrrd,
    ".nhdr": _nrrd,
    ".mha": _meta_image,
    ".mhd": _meta_image,
    ".mgh": _mgh,
    ".mgz": _mgh,
    ".mnc": _minc,
    ".vtk": _vtk,
    ".gipl": _gipl,
    ".gipl.gz": _gipl,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".png": _picture,
    ".jpg": _picture,
    ".jpeg": _picture,
    ".bmp": _picture,
    ".ome.zarr": _archive,
    ".zarr": _archive,
    ".nii.zarr": _archive,
    ".ozx": _archive,
}
"""Writer of each suffix, in the order in which an error lists them."""
