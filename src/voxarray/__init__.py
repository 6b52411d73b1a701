"""voxarray: TorchIO's ``Image`` for volumes that do not fit into RAM.

Opening a scan reads at most its header, slicing reads no voxels, and `.data` is a tensor::

    import voxarray as vx

    scan = vx.ScalarImage("sub-01_T1w.nii.gz")   # reads nothing
    scan                                         # ScalarImage(shape: (1, 256, 256, 176); ...
    patch = scan[64:160, 64:160, 64:160]         # reads nothing; the affine follows
    patch.data                                   # torch.Tensor (1, 96, 96, 96), read now
    scan.memory_report()                         # what loading all of it would cost
    scan.array.mean("z")                         # xarray and dask, lazy; coordinates in mm
    scan.save("sub-01_T1w.ome.zarr")             # one pass, bounded memory, checksummed

The tour:

* `ScalarImage`, `LabelMap`, `Image`: images; each is also a dict of its metadata, as in TorchIO.
* `Subject`: the images of one patient by name, with metadata; sliced and checked together.
* `convert`: one image to an archive, which is one OME-Zarr store with checksums, or to a file;
  `convert_cohort`: the images of many subjects to a cohort, which is a folder of archives;
  `Cohort`: opens it; `verify` compares archives with their checksums.
* `Archive`: an archive on disk or in a bucket; label maps and notes can be added and removed.
* `Statistics`: what `Image.statistics` returns.
* `Compose`, `ToCanonical`, `RescaleIntensity`, `OneHot` and the other subclasses of `Transform`:
  preprocessing under TorchIO's names, lazily. `replay` makes a result again from its history.
* `UniformSampler`, `LabelSampler`, `WeightedSampler` with `PatchDataset` or `IterablePatchDataset`:
  patches for training; `GridSampler` and `GridAggregator`: inference over volumes of any size;
  `TorchIOTransform`, `MonaiTransform`: augmentation of patches.
* `infer`: a trained network over a volume of any size, to labels on the scan's own grid;
  `evaluate`: Dice, volumes and distances between surfaces.
* `Grid`: shape (W, H, D) and affine as one value. An affine is the (4, 4) matrix from voxel
  indices to the positions of voxel centres, in RAS+ mm.
* `DicomReader`: opens one of several series in a folder of DICOM files.
* `MemoryReport`: what an image costs, in bytes.
* `VoxarrayError` and its subclasses: the errors; each has a ``code`` and a ``path``.
* ``DATA``, ``AFFINE``, ``PATH``, ``STEM``, ``TYPE``: keys of the metadata of an image;
  ``INTENSITY``, ``LABEL``, ``SAMPLING_MAP``: types of images.

Names are imported when they are first used: ``import voxarray`` loads neither torch nor xarray.
Where xarray is loaded already, its arrays get the ``.vox`` accessor.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from lazy_loader import attach_stub

from voxarray.core import image_classes
from voxarray.core.version import __version__ as __version__

_lazy, _, __all__ = attach_stub(__name__, __file__)
# Constants first, as people look for them; the stub sorts by letters alone.
__all__ = sorted([*__all__, "__version__"], key=lambda name: (not name.isupper(), name))


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in __all__:
        return _lazy(name)
    from voxarray.core.names_elsewhere import MODULE, similar
    from voxarray.core.torchio_names import advice

    instead = advice(name) or MODULE.get(name) or similar(name, __all__)
    hint = f": {instead}" if instead else ""
    raise AttributeError(f"module 'voxarray' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return __all__


image_classes.register(_lazy)

if "xarray" in sys.modules:
    import_module("voxarray.xarray_index.accessor")
