"""DICOM files made for tests: every element that a test needs, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"

AXIAL = (1.0, 0, 0, 0, 1, 0)
SERIES = generate_uid()


def empty(sop_class: str = CT, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Dataset:
    """A file without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = SERIES
    dataset.SeriesNumber = 1
    dataset.Modality = "CT"
    return put(dataset, elements)


def put(dataset: Dataset, elements: dict[str, Any]) -> Dataset:
    """Set elements by keyword; None removes one."""
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def plane(pixels: np.ndarray, **elements: Any) -> Dataset:
    """A file of one or more frames, (rows, columns) or (frames, rows, columns)."""
    dataset = empty(elements.pop("SOPClassUID", CT))
    frames, rows, columns = pixels.shape if pixels.ndim == 3 else (1, *pixels.shape)
    bits = pixels.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = rows, columns
    if pixels.ndim == 3:
        dataset.NumberOfFrames = frames
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return put(dataset, elements)


def placed(pixels: np.ndarray, position: Any, number: int = 1, **elements: Any) -> Dataset:
    """A plane with a place in the patient."""
    place = {
        "ImagePositionPatient": [float(f"{p:.8g}") for p in position],
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.75],
        "SliceThickness": 2.0,
        "InstanceNumber": number,
    }
    return plane(pixels, **(place | elements))


def save(dataset: Dataset, path: Path) -> Path:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def volume(depth: int = 6, rows: int = 5, columns: int = 4, dtype: Any = np.int16) -> np.ndarray:
    """Voxels (D, H, W), each different from its neighbours."""
    count = depth * rows * columns
    return (np.arange(count) * 7 % 251).astype(dtype).reshape(depth, rows, columns)


def series(
    folder: Path,
    voxels: np.ndarray | None = None,
    *,
    step: Any = (0, 0, 2.0),
    origin: Any = (-10.0, -20.0, 30.0),
    each: Any = lambda _: {},
    **elements: Any,
) -> list[Path]:
    """Slices of a volume (D, H, W), one file each, their names in no order."""
    voxels = volume() if voxels is None else voxels
    paths = []
    for z, pixels in enumerate(voxels):
        position = np.add(origin, np.multiply(step, z))
        dataset = placed(pixels, position, z + 1, **(elements | each(z)))
        paths.append(save(dataset, folder / f"{(z * 7) % len(voxels):04d}_{z}.dcm"))
    return paths


def item(**elements: Any) -> Dataset:
    """One item of a sequence."""
    return put(Dataset(), elements)


def group(**elements: Any) -> Sequence:
    """A functional group: a sequence of one item."""
    return Sequence([item(**elements)])


def enhanced(
    pixels: np.ndarray, frames: list[Dataset], shared: Dataset, **elements: Any
) -> Dataset:
    """A multi-frame file with functional groups; pixels are (frames, rows, columns)."""
    dataset = plane(pixels, **({"SOPClassUID": ENHANCED_MR, "Modality": "MR"} | elements))
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset


def shared_groups(spacing: float = 2.0) -> Dataset:
    """Orientation and spacing of all frames."""
    return item(
        PlaneOrientationSequence=group(ImageOrientationPatient=list(AXIAL)),
        PixelMeasuresSequence=group(
            PixelSpacing=[0.5, 0.75], SliceThickness=2.0, SpacingBetweenSlices=spacing
        ),
    )


def frame_groups(z: float, **groups: Any) -> Dataset:
    """Position of one frame, and whatever else."""
    return item(PlanePositionSequence=group(ImagePositionPatient=[-10, -20, z]), **groups)


LPS = np.diag([-1.0, -1, 1, 1])


def by_sitk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (D, H, W) and affine in RAS+ mm, as SimpleITK reads the only series."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    matrix = np.eye(4)
    axes = np.reshape(image.GetDirection(), (3, 3))
    matrix[:3, :3] = axes * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), LPS @ matrix
