"""The formats that come with voxarray: one record each."""

from __future__ import annotations

from voxarray.formats.record import Format
from voxarray.formats.suffixes import (
    COMPRESSED,
    HEADER,
    PAIR_SUFFIXES,
    VOXELS,
    compressed,
    pair_suffixes,
)

_ITK_PEAK = "voxarray.formats._voxels.itk_writing:projected_peak"

FORMATS = (
    Format(
        "NIfTI",
        (".nii", *compressed(".nii")),
        open="voxarray.formats.nifti.read:open_nifti",
        write="voxarray.formats.nifti.write:save",
        writes=(".nii", ".nii.gz"),
    ),
    Format(
        "NIfTI pair or Analyze",
        PAIR_SUFFIXES,
        open="voxarray.formats.nifti.read_pair:open_pair",
        write="voxarray.formats.nifti.write_pair:save",
        writes=tuple(part + end for end in ("", ".gz") for part in (VOXELS, HEADER)),
        companions=tuple((VOXELS + end, pair_suffixes(HEADER, end)) for end in ("", *COMPRESSED)),
        identity="stem",
    ),
    Format(
        "NRRD",
        (".nrrd", ".nhdr"),
        open="voxarray.formats.nrrd.read:open_nrrd",
        write="voxarray.formats.nrrd.write:save",
        identity="detached",
        detached=(".nhdr",),
        data_file="voxarray.formats.nrrd.header:data_file",
        keywords=("squeeze",),
    ),
    Format(
        "MetaImage",
        (".mha", ".mhd"),
        open="voxarray.formats.metaimage.read:open_meta_image",
        write="voxarray.formats.metaimage.write:save",
        identity="detached",
        detached=(".mhd",),
        data_file="voxarray.formats.metaimage.header:data_file",
        keywords=("squeeze",),
    ),
    Format(
        "MGH",
        (".mgh", ".mgz", *compressed(".mgh")),
        open="voxarray.formats.mgh.read:open_mgh",
        write="voxarray.formats.mgh.write:save",
        writes=(".mgh", ".mgz"),
    ),
    Format(
        "MINC",
        (".mnc",),
        open="voxarray.formats.minc.read:open_minc",
        write="voxarray.formats.minc.write:save",
        peak=_ITK_PEAK,
    ),
    Format(
        "VTK",
        (".vtk",),
        open="voxarray.formats.vtk.read:open_vtk",
        write="voxarray.formats.vtk.write:save",
    ),
    Format(
        "GIPL",
        (".gipl", *compressed(".gipl")),
        open="voxarray.formats.gipl.read:open_gipl",
        write="voxarray.formats.gipl.write:save",
        writes=(".gipl", ".gipl.gz"),
    ),
    Format(
        "ITK HDF5",
        (".h5", ".hdf5"),
        open="voxarray.formats.hdf5.read:open_itk_hdf5",
        write="voxarray.formats.hdf5.write:save",
        peak=_ITK_PEAK,
        in_folders=False,
        keywords=("squeeze",),
    ),
    Format(
        "TIFF",
        (".tif", ".tiff", ".ome.tif"),
        open="voxarray.formats.tiff.read:open_tiff",
        write="voxarray.formats.tiff.write:save",
        writes=(".tif", ".tiff"),
        identity="set",
        keywords=("squeeze",),
    ),
    Format(
        "picture",
        (".png", ".jpg", ".jpeg", ".bmp"),
        open="voxarray.formats.pictures.read:open_picture",
        write="voxarray.formats.pictures.write:save",
        in_folders=False,
        keywords=("squeeze",),
    ),
    Format(
        "Zarr",
        (".ome.zarr", ".zarr", ".nii.zarr", ".ozx", ".zarr.zip"),
        open="voxarray.formats.zarr.read:open_zarr",
        write="voxarray.formats.zarr.write:save",
        writes=(".ome.zarr", ".zarr", ".nii.zarr", ".ozx"),
        peak="voxarray.archive.projection:projected_peak",
        identity="zarr",
        keywords=("codec", "levels", "chunks"),
    ),
    Format(
        "DICOM",
        (".dcm", ".ima", ".dicom"),
        open="voxarray.formats.dicom.read:open_dicom",
        identity="folder",
    ),
    Format(
        "PAR/REC",
        (".par", ".rec"),
        open="voxarray.formats.parrec.read:open_parrec",
        companions=((".rec", (".par",)),),
        identity="stem",
    ),
    Format(
        "AFNI",
        (".head", ".brik", *compressed(".brik")),
        open="voxarray.formats.afni.read:open_afni",
        companions=tuple((suffix, (".head",)) for suffix in (".brik", *compressed(".brik"))),
        identity="stem",
    ),
    Format("NumPy", (".npy",), open="voxarray.formats.npy.read:open_npy", in_folders=False),
)
"""In the order in which an error lists them."""
