"""What lies outside a mask, replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from voxarray.image import Image
from voxarray.ops.fill_value import require_fill
from voxarray.ops.masks import Chosen
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.masking import MaskingMethod, mask_of
from voxarray.transforms.transform import IntensityTransform


class Mask(IntensityTransform):
    """Set the voxels outside a mask to a value.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> masked = vx.Mask("brain")(subject).t1
        >>> float(abs(masked.numpy()[labels.numpy() == 0]).max())
        0.0

    Args:
        masking_method: The mask, as in `NormalizationTransform`. A mask with a single channel masks
            all channels of an image.
        outside_value: New value of the voxels outside.
        labels: If the mask is a label map, the labels that are inside; by default all but 0.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: Without a mask.
        UnsupportedError: When applied, if the type of the image cannot hold the value
            (``OUT_OF_TYPE``).
        GridError: When applied, if the mask is on another grid (``MASK_MISMATCH``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("masking_method", "outside_value", "labels")

    def __init__(
        self,
        masking_method: MaskingMethod,
        outside_value: float = 0,
        labels: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if masking_method is None:
            raise ValueError(
                "a mask is needed: give the name of a label map, a side such as 'Left', or a "
                "function"
            )
        self.masking_method, self.outside_value, self.labels = masking_method, outside_value, labels

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        mask = mask_of(self.masking_method, source, subject, self.labels)
        require_fill(self.outside_value, source.dtype)
        return source if mask is None else Chosen(source, mask, self.outside_value)
