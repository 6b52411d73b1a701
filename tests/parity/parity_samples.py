"""Files in every format, written by nibabel, SimpleITK, Pillow and pydicom, never by voxarray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image as Pillow

import dicom_samples

SHAPES = {"2d": (1, 7, 6, 1), "rgb": (3, 7, 6, 1), "3d": (1, 7, 6, 5), "4d": (4, 7, 6, 5)}

DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64"),
)

NIFTI = (".nii", ".nii.gz", ".img")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
MGH = {".mgh": ("uint8", "int16", "int32", "float32"), ".mgz": ("uint8", "int16", "float32")}
PICTURES = {".png": ("uint8", "uint16"), ".jpg": ("uint8",), ".bmp": ()}
TIFF = {".tif": ("uint8", "int16", "uint16", "float32")}
DICOM = {"folder": ("int16", "uint16")}


def _oblique() -> NDArray[np.float64]:
    a, b = 0.3, 0.2
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z
    affine[:3, 3] = 5, -6, 7
    return affine


SPACES = {
    "RAS": np.array([[1, 0, 0, -9], [0, 1, 0, 8], [0, 0, 1, 7], [0, 0, 0, 1.0]]),
    "LPS": np.array([[-1, 0, 0, 10], [0, -1, 0, 20], [0, 0, 1, -30], [0, 0, 0, 1.0]]),
    "oblique": _oblique(),
    "anisotropic": np.array([[0, 0, 3, 1], [0.5, 0, 0, 2], [0, -0.75, 0, 3], [0, 0, 0, 1.0]]),
}


@dataclass(frozen=True)
class Sample:
    """One file to write.

    Attributes:
        suffix: Its format; "folder" for DICOM.
        dims: Key of `SHAPES`.
        dtype: Of the stored voxels.
        space: Key of `SPACES`; formats that hold no affine ignore it.
    """

    suffix: str
    dims: str
    dtype: str
    space: str

    def __str__(self) -> str:
        return f"{self.dims}-{self.dtype}-{self.space}{self.suffix}"

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) in RAS+ mm that the file shall say."""
        if self.suffix in PICTURES or self.suffix in TIFF:
            return np.diag([-1, -1, 1, 1.0])
        if self.suffix == "folder":
            return np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, -30], [0, 0, 0, 1.0]])
        return SPACES[self.space]

    @property
    def voxels(self) -> NDArray:
        """(C, W, H, D), small whole numbers that every type holds, every neighbour different."""
        shape = SHAPES[self.dims]
        values = np.random.default_rng(7).integers(0, 100, shape).astype(self.dtype)
        return np.full(shape, 50, self.dtype) if self.suffix == ".jpg" else values

    def write(self, folder: Path) -> Path:
        """Write it below a folder."""
        path = folder / f"a{self.suffix}"
        if self.suffix in NIFTI:
            kind = nib.Nifti1Pair if self.suffix == ".img" else nib.Nifti1Image
            nib.save(kind(self._last(), self.affine, dtype=np.dtype(self.dtype)), path)
        elif self.suffix in MGH:
            nib.save(nib.MGHImage(self._last(), self.affine), path)
        elif self.suffix == "folder":
            return self._write_dicom(folder)
        elif self.suffix in PICTURES:
            Pillow.fromarray(self.voxels[..., 0].transpose(2, 1, 0).squeeze()).save(path)
        else:
            sitk.WriteImage(self._itk(), path)
        return path

    def _last(self) -> NDArray:
        voxels = self.voxels
        return voxels[0] if len(voxels) == 1 else np.moveaxis(voxels, 0, -1)

    def _itk(self) -> sitk.Image:
        voxels = self.voxels.transpose()
        many = voxels.shape[-1] > 1
        image = sitk.GetImageFromArray(voxels if many else voxels[..., 0], isVector=many)
        lps = np.diag([-1, -1, 1, 1]) @ self.affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        return image[:, :, 0] if self.suffix in TIFF and voxels.shape[0] == 1 else image

    def _write_dicom(self, folder: Path) -> Path:
        for index, plane in enumerate(self.voxels[0].transpose(2, 1, 0)):
            # LPS; columns are 0.75 mm apart and rows 0.5.
            dataset = dicom_samples.placed(plane, (-10, -20, -30 + 2.0 * index), index + 1)
            dicom_samples.save(dataset, folder / f"{index}.dcm")
        return folder


def samples(*, every: bool) -> list[Sample]:
    """What is written: all combinations, or a choice that has every value of everything."""
    found = [
        Sample(suffix, dims, dtype, space)
        for suffix, dtypes in {**dict.fromkeys((*NIFTI, *ITK), DTYPES), **MGH}.items()
        for dims in (("3d", "4d") if suffix in MGH else ("2d", "3d", "4d"))
        for dtype in dtypes
        for space in SPACES
        if every or _is_chosen(suffix, dims, dtype, space)
    ]
    for suffix, dtypes in PICTURES.items():
        found += [Sample(suffix, "2d", dtype, "RAS") for dtype in dtypes]
        found.append(Sample(suffix, "rgb", "uint8", "RAS"))
    for suffix, dtypes in {**TIFF, **DICOM}.items():
        found += [Sample(suffix, "3d", dtype, "RAS") for dtype in dtypes]
    return [*found, Sample(".tif", "2d", "uint8", "RAS")]


ALIKE = (".nii.gz", ".nhdr", ".mhd")
"""Read as .nii, .nrrd and .mha are, once their bytes are found."""


def _is_chosen(suffix: str, dims: str, dtype: str, space: str) -> bool:
    if suffix in ALIKE:
        return dtype == "int16" and (dims == "3d" or space == "oblique")
    if space == "oblique":
        return dtype in ("int16", "uint16", "int32") or (
            suffix in (".nii", ".nrrd") and dims != "4d"
        )
    return dtype == "int16" and dims != "2d"
