"""Any function as a transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from voxarray.image import Image
from voxarray.source.array import ArraySource, DaskSource
from voxarray.source.base import Channels, Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.transform import Transform

_GIVEN = (
    "Lambda gave the function a lazy dask array (C, W, H, D), not a tensor: for x.float() write "
    'x.astype("float32"), for torch.log1p(x) numpy.log1p(x). A function that needs a tensor takes '
    "image.data: image.set_data(function(image.data))"
)


class Lambda(Transform):
    """Apply a function to the voxels, lazily.

    The function is given a lazy dask array (C, W, H, D) and returns one, as ``lambda x: -x`` and
    ``lambda x: x.clip(0, x.mean())`` do: it may use the whole volume. W, H and D stay as they are,
    since the function says nothing of where voxels lie; C may change. If your function needs a
    tensor in memory, use no transform, but ``image.set_data(function(image.data))``.

    A function cannot be recorded: the history holds only its name, and `replay` raises an error.

    Examples:
        >>> scan = vx.testing.sample()
        >>> bool((vx.Lambda(lambda voxels: voxels * 2)(scan).numpy() == 2 * scan.numpy()).all())
        True

    Args:
        function: Takes a 4D dask array, and returns one or a NumPy array.
        types_to_apply: Types of images to apply it to, such as ``[INTENSITY]``; all by default.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        TypeError: If it cannot be called.
        ValueError: When applied, if the function returns something else, or another W, H or D.
    """

    args_names: ClassVar[tuple[str, ...]] = ("function", "types_to_apply")

    def __init__(
        self,
        function: Callable[[Any], Any],
        types_to_apply: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(f"a function is needed, and {function!r} cannot be called")
        self.function, self.types_to_apply = function, types_to_apply

    def applies_to(self, image: Image) -> bool:
        return self.types_to_apply is None or image.type in self.types_to_apply

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        import dask.array as da

        from voxarray.xarray_index.lazy import for_function  # brings xarray and pandas

        try:
            voxels = self.function(for_function(source))
        except (AttributeError, TypeError) as error:
            error.add_note(_GIVEN)
            raise
        if not isinstance(voxels, (da.Array, np.ndarray)) or voxels.ndim != 4:
            raise ValueError(
                f"the function must return a dask or NumPy array (C, W, H, D), not "
                f"{type(voxels).__name__} of shape {getattr(voxels, 'shape', None)}"
            )
        if voxels.shape[1:] != source.shape[1:]:
            raise ValueError(
                f"the function returned a volume of {voxels.shape[1:]} for one of "
                f"{source.shape[1:]}, whose affine would place its voxels wrongly. The function "
                "must keep W, H and D. To change them, slice the image first, or use Crop, Pad or "
                "Resample instead"
            )
        same = voxels.shape[0] == source.shape[0]
        channels = source.channels if same else Channels()
        kind = DaskSource if isinstance(voxels, da.Array) else ArraySource
        return kind(voxels, source.affine, channels, origin=source.header_of_space)
