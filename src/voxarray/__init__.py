"""voxarray: TorchIO's ``Image`` for volumes that do not fit into RAM.

A scan is opened by its header, sliced without being read, and becomes a tensor when asked::

    import voxarray as vx

    scan = vx.ScalarImage("sub-01_T1w.nii.gz")   # reads nothing
    scan                                         # ScalarImage(shape: (1, 256, 256, 176); ...
    patch = scan[64:160, 64:160, 64:160]         # reads nothing; the affine follows
    patch.data                                   # torch.Tensor (1, 96, 96, 96), read now
    scan.memory_report()                         # what loading all of it would cost
    scan.array.mean("z")                         # xarray and dask, lazy; coordinates in mm
    scan.save("sub-01_T1w.ome.zarr")             # one pass, bounded memory, checksummed

The tour:

* `ScalarImage`, `LabelMap`, `Image`: what users hold; dicts of metadata, as in TorchIO.
* `Subject`: the images of one patient by name, with metadata; sliced and checked together.
* `Statistics`: what `Image.statistics` finds in one pass over an image.
* `Compose`, `ToCanonical`, `RescaleIntensity`, `OneHot` and the other subclasses of `Transform`:
  preprocessing under TorchIO's names, lazily. `replay` makes a result again from its history.
* `UniformSampler`, `LabelSampler`, `WeightedSampler` with `PatchDataset` or `IterablePatchDataset`:
  patches for training; `GridSampler` and `GridAggregator`: inference over volumes of any size;
  `TorchIOTransform`, `MonaiTransform`: augmentation of patches.
* `Grid`: shape (W, H, D) and affine (voxel index to RAS+ mm of voxel centres) as one value.
* `DicomReader`: which of the series in a folder of DICOM files an image is.
* `MemoryReport`: what an image costs, in bytes.
* `VoxarrayError` and its family: what goes wrong, by name; each has a ``code`` and a ``path``.
* ``DATA``, ``AFFINE``, ``PATH``, ``STEM``, ``TYPE``: keys; ``INTENSITY``, ``LABEL``,
  ``SAMPLING_MAP``: types of images.

Names are imported when they are first used: ``import voxarray`` loads neither torch nor xarray.
Where xarray is loaded already, its arrays get the ``.vox`` accessor.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from voxarray.core.version import __version__

if TYPE_CHECKING:
    from voxarray.cohort import Cohort
    from voxarray.core.errors import (
        AccessDeniedError,
        ArchiveError,
        ArchiveExistsError,
        ChecksumError,
        FormatError,
        GridError,
        MemoryBudgetError,
        MissingDataError,
        MissingFileError,
        MissingPackageError,
        OutOfRangeError,
        PandasIndexError,
        SelectionError,
        SourceChangedError,
        StateError,
        TransportError,
        TruncatedError,
        UnsupportedError,
        VoxarrayError,
        VoxarrayWarning,
    )
    from voxarray.core.keys import AFFINE, DATA, INTENSITY, LABEL, PATH, SAMPLING_MAP, STEM, TYPE
    from voxarray.core.memory import MemoryReport
    from voxarray.formats.dicom.read import DicomReader
    from voxarray.geometry.grid import Grid
    from voxarray.image import Image, LabelMap, ScalarImage
    from voxarray.patches import (
        GridAggregator,
        GridSampler,
        IterablePatchDataset,
        LabelSampler,
        MonaiTransform,
        PatchDataset,
        TorchIOTransform,
        UniformSampler,
        WeightedSampler,
    )
    from voxarray.statistics.summary import Statistics
    from voxarray.subject import Subject
    from voxarray.transforms import (
        Affine,
        Blur,
        Clamp,
        Compose,
        Contour,
        Crop,
        CropOrPad,
        EnsureShapeMultiple,
        Flip,
        HistogramStandardization,
        KeepLargestComponent,
        Lambda,
        Mask,
        OneHot,
        Pad,
        RemapLabels,
        RemoveLabels,
        Resample,
        RescaleIntensity,
        Resize,
        SequentialLabels,
        To,
        ToCanonical,
        ToOrientation,
        Transform,
        Transpose,
        ZNormalization,
        replay,
    )

__all__ = [
    "AFFINE",
    "DATA",
    "INTENSITY",
    "LABEL",
    "PATH",
    "SAMPLING_MAP",
    "STEM",
    "TYPE",
    "AccessDeniedError",
    "Affine",
    "ArchiveError",
    "ArchiveExistsError",
    "Blur",
    "ChecksumError",
    "Clamp",
    "Cohort",
    "Compose",
    "Contour",
    "Crop",
    "CropOrPad",
    "DicomReader",
    "EnsureShapeMultiple",
    "Flip",
    "FormatError",
    "Grid",
    "GridAggregator",
    "GridError",
    "GridSampler",
    "HistogramStandardization",
    "Image",
    "IterablePatchDataset",
    "KeepLargestComponent",
    "LabelMap",
    "LabelSampler",
    "Lambda",
    "Mask",
    "MemoryBudgetError",
    "MemoryReport",
    "MissingDataError",
    "MissingFileError",
    "MissingPackageError",
    "MonaiTransform",
    "OneHot",
    "OutOfRangeError",
    "Pad",
    "PandasIndexError",
    "PatchDataset",
    "RemapLabels",
    "RemoveLabels",
    "Resample",
    "RescaleIntensity",
    "Resize",
    "ScalarImage",
    "SelectionError",
    "SequentialLabels",
    "SourceChangedError",
    "StateError",
    "Statistics",
    "Subject",
    "To",
    "ToCanonical",
    "ToOrientation",
    "TorchIOTransform",
    "Transform",
    "TransportError",
    "Transpose",
    "TruncatedError",
    "UniformSampler",
    "UnsupportedError",
    "VoxarrayError",
    "VoxarrayWarning",
    "WeightedSampler",
    "ZNormalization",
    "__version__",
    "replay",
]

_KEYS = {"AFFINE", "DATA", "INTENSITY", "LABEL", "PATH", "SAMPLING_MAP", "STEM", "TYPE"}
_HOMES = {
    "Cohort": "voxarray.cohort",
    "DicomReader": "voxarray.formats.dicom.read",
    "Grid": "voxarray.geometry.grid",
    "Image": "voxarray.image",
    "LabelMap": "voxarray.image",
    "MemoryReport": "voxarray.core.memory",
    "GridAggregator": "voxarray.patches",
    "GridSampler": "voxarray.patches",
    "IterablePatchDataset": "voxarray.patches",
    "LabelSampler": "voxarray.patches",
    "MonaiTransform": "voxarray.patches",
    "PatchDataset": "voxarray.patches",
    "TorchIOTransform": "voxarray.patches",
    "UniformSampler": "voxarray.patches",
    "WeightedSampler": "voxarray.patches",
    "ScalarImage": "voxarray.image",
    "Statistics": "voxarray.statistics.summary",
    "Subject": "voxarray.subject",
    # Of transforms, `voxarray.transforms` knows the modules.
    "Affine": "voxarray.transforms",
    "Blur": "voxarray.transforms",
    "Clamp": "voxarray.transforms",
    "Compose": "voxarray.transforms",
    "Contour": "voxarray.transforms",
    "Crop": "voxarray.transforms",
    "CropOrPad": "voxarray.transforms",
    "EnsureShapeMultiple": "voxarray.transforms",
    "Flip": "voxarray.transforms",
    "HistogramStandardization": "voxarray.transforms",
    "KeepLargestComponent": "voxarray.transforms",
    "Lambda": "voxarray.transforms",
    "Mask": "voxarray.transforms",
    "OneHot": "voxarray.transforms",
    "Pad": "voxarray.transforms",
    "RemapLabels": "voxarray.transforms",
    "RemoveLabels": "voxarray.transforms",
    "Resample": "voxarray.transforms",
    "RescaleIntensity": "voxarray.transforms",
    "Resize": "voxarray.transforms",
    "SequentialLabels": "voxarray.transforms",
    "To": "voxarray.transforms",
    "ToCanonical": "voxarray.transforms",
    "ToOrientation": "voxarray.transforms",
    "Transform": "voxarray.transforms",
    "Transpose": "voxarray.transforms",
    "ZNormalization": "voxarray.transforms",
    "replay": "voxarray.transforms",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'voxarray' has no attribute {name!r}")
    home = "voxarray.core.keys" if name in _KEYS else _HOMES.get(name, "voxarray.core.errors")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]


if "xarray" in sys.modules:
    import_module("voxarray.xarray_index.accessor")
