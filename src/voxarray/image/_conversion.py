"""The members of an image that speak to other libraries; those are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import DATA
from voxarray.source.drawable import TensorLike
from voxarray.source.materialise import projected_peak
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    import torch


class ConversionMixin:
    """An image that can become another library's image, and be made of one."""

    if TYPE_CHECKING:

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

        def __contains__(self, key: object, /) -> bool: ...

        @property
        def source(self) -> SlicedSource: ...

        @property
        def data(self) -> torch.Tensor: ...

        @data.setter
        def data(self, tensor: Any) -> None: ...

        @property
        def _backing(self) -> SlicedSource: ...

        def _require_memory(self, needed: int, operation: str) -> None: ...

        def _warn_of_nans(self, tensor: Any) -> None: ...

        def _own_tensor(self, tensor: torch.Tensor) -> torch.Tensor: ...

    @names_exhaustion
    def to_tensor(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """The voxels as a tensor (C, W, H, D), which the image does not keep.

        If `data` is loaded, the result is that tensor, or a copy of another type or device.

        Args:
            dtype: Type of the tensor, of torch or by NumPy's name; by default that of `data`. As in
                ``tensor.to``, whole numbers lose fractions, and values beyond the type's range wrap
                around: 300.7 becomes 44 in uint8. `Clamp` or rescale the image first.
            device: Device of the tensor; by default the CPU. Voxels of a file are copied to a CUDA
                device piece by piece, through pinned memory, so that RAM need not hold the volume.
                As after ``tensor.to(device, non_blocking=True)``, the last copies may still be
                queued on the current stream when the method returns.

        Raises:
            MemoryBudgetError: If it needs more memory than allowed; nothing was read.
        """
        from voxarray.tensors import upload
        from voxarray.tensors.convert import as_torch_dtype, read_tensor, reading_dtype

        dtype = None if dtype is None else as_torch_dtype(dtype)
        if DATA in self:
            return self.data.to(device=device, dtype=dtype)
        source, read_as = self._backing, reading_dtype(self._backing, dtype)
        if upload.can_upload(source, device):
            self._require_memory(upload.projected_peak(source, read_as), "to_tensor()")
            tensor = upload.upload(source, dtype, device)
            self._warn_of_nans(tensor)
            return tensor
        self._require_memory(projected_peak(source, read_as), "to_tensor()")
        tensor = self._own_tensor(read_tensor(source, dtype))
        self._warn_of_nans(tensor)
        return tensor.to(device=device)

    @names_exhaustion
    def __dlpack__(self, **options: Any) -> Any:
        """The memory of `data`, which is loaded for it: for `torch.as_tensor`, `np.from_dlpack`."""
        return self.data.__dlpack__(**options)

    @names_exhaustion
    def __dlpack_device__(self) -> tuple[Any, int]:
        device: tuple[Any, int] = self.data.__dlpack_device__()
        return device

    @names_exhaustion
    def as_sitk(self, **kwargs: Any) -> Any:
        """The image as a `SimpleITK.Image`, in LPS: 2D if it is a single slice, else 3D.

        Args:
            **kwargs: ``force_3d=True`` keeps a single slice three-dimensional, and its place in
                the patient; ``force_4d=True`` makes channels the fourth axis.

        Raises:
            UnsupportedError: For voxels that ITK has no type for.
            MemoryBudgetError: If it needs more memory than allowed; nothing was read.
        """
        from voxarray.bridges.itk import to_sitk

        return to_sitk(self.source, **kwargs)

    @classmethod
    @names_exhaustion
    def from_sitk(cls, sitk_image: Any, **kwargs: Any) -> Self:
        """Image of a `SimpleITK.Image` of two to four dimensions, whose voxels are copied.

        Args:
            sitk_image: Scalar or vector.
            **kwargs: As for the class.

        Raises:
            TypeError: If the argument is not a SimpleITK image.
            UnsupportedError: For ITK's pixel types of label maps, such as ``sitkLabelUInt8``, and
                for 4D images of vectors.
        """
        from voxarray.bridges.itk import from_sitk

        return cls(tensor=from_sitk(sitk_image), **kwargs)

    @names_exhaustion
    def as_pil(self, transpose: bool = True) -> Any:
        """The image, a single slice of 1, 3 or 4 channels, as a `PIL.Image`.

        Values are clamped to 0 to 255 and cast to bytes.

        Args:
            transpose: If true, W runs to the right, otherwise downwards.

        Raises:
            StateError: If there is more than one slice; also a RuntimeError.
            UnsupportedError: For another number of channels.
            MissingPackageError: If Pillow is not installed.
        """
        from voxarray.bridges.pillow import to_pil

        return to_pil(self.source, transpose=transpose)

    def to_nibabel(self) -> Any:
        """The image as a `nibabel.Nifti1Image` whose ``dataobj`` reads only indexed parts.

        Raises:
            UnsupportedError: For voxels that NIfTI has no type for.
        """
        from voxarray.bridges.nibabel import to_nibabel

        return to_nibabel(self.source)

    @classmethod
    @names_exhaustion
    def from_nibabel(cls, image: Any, **kwargs: Any) -> Self:
        """Image of a spatial image of nibabel; an unloaded image stays unloaded.

        Args:
            image: Image of any of nibabel's formats, with (W, H), (W, H, D), (W, H, D, C) or (W, H,
                D, 1, C) voxels.
            **kwargs: As for the class.

        Raises:
            TypeError: If the argument is not an image of nibabel.
            UnsupportedError: For other shapes, and for voxels that are not numbers.
        """
        from voxarray.bridges.nibabel import from_nibabel

        return cls(tensor=from_nibabel(image), **kwargs)

    @names_exhaustion
    def to_torchio(self: TensorLike) -> Any:
        """The image as TorchIO 1.x has it: same class, tensor, affine and metadata.

        Raises:
            MissingPackageError: If TorchIO is not installed.
            MemoryBudgetError: If the tensor needs more memory than allowed; nothing was read.
        """
        from voxarray.bridges.torchio import to_torchio

        return to_torchio(self)

    @classmethod
    @names_exhaustion
    def from_torchio(cls, image: Any, **kwargs: Any) -> Self:
        """Image of a TorchIO 1.x image, with its metadata; an unloaded image stays unloaded.

        Args:
            image: TorchIO image of the same type as the class; `Image` takes any.
            **kwargs: As for the class.

        Raises:
            MissingPackageError: If TorchIO is not installed.
            TypeError: If the argument is not a TorchIO image.
            ValueError: If it is of another type.
        """
        from voxarray.bridges.torchio import arguments

        return cls(**{**arguments(image), **kwargs})

    @names_exhaustion
    def to_monai(self: TensorLike) -> Any:
        """The image as a `monai.data.MetaTensor` (C, W, H, D) with its affine and metadata.

        Raises:
            MissingPackageError: If MONAI is not installed.
            MemoryBudgetError: If the tensor needs more memory than allowed; nothing was read.
        """
        from voxarray.bridges.monai import to_monai

        return to_monai(self)

    @classmethod
    def from_monai(cls, tensor: Any, **kwargs: Any) -> Self:
        """Image of a `monai.data.MetaTensor` (C, W, H, D), with its affine.

        Args:
            tensor: Tensor in RAS or LPS, as its metadata say; its memory is shared, not copied.
            **kwargs: As for the class.

        Raises:
            TypeError: If the argument is not a MetaTensor.
            GridError: If its affine is invalid, or in another space.
        """
        from voxarray.bridges.monai import is_meta_tensor

        if not is_meta_tensor(tensor):
            raise TypeError(f"from_monai takes a MetaTensor of MONAI, not {type(tensor).__name__}")
        return cls(tensor=tensor, **kwargs)
