"""What MONAI bundles do to a scan and no transform of ours does in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import ModelError
from voxarray.image import Image, ScalarImage
from voxarray.ops.intensity import Floating
from voxarray.source.base import Source
from voxarray.source.pieces import pieces
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms import Compose, Crop, NormalizationTransform, Pad, RescaleIntensity
from voxarray.transforms.masking import mask_of, name_of


class NormalizeIntensity(NormalizationTransform):
    """Subtract a mean and divide by a deviation (``n``, not ``n - 1``), as MONAI's of that name.

    Args:
        subtrahend: What is subtracted; None for the mean.
        divisor: What is divided by; None for the deviation, or 1 where that is 0.
        nonzero: Only voxels other than 0 count, and only they change.
        channel_wise: Each channel by itself.
    """

    args_names: ClassVar[tuple[str, ...]] = ("subtrahend", "divisor", "nonzero", "channel_wise")

    def __init__(
        self,
        subtrahend: float | None = None,
        divisor: float | None = None,
        nonzero: bool = False,
        channel_wise: bool = False,
    ) -> None:
        super().__init__()
        self.subtrahend, self.divisor = subtrahend, divisor
        self.nonzero, self.channel_wise = nonzero, channel_wise

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        mean, deviation = self.subtrahend, self.divisor
        if mean is None or deviation is None:
            self._require_own_statistics(source, subject)
            mask = mask_of(_is_not_zero, source, subject) if self.nonzero else None
            statistics = self.statistics(source, mask, name_of(image, subject))
            if not statistics.count:  # all are 0, and stay so
                return NonzeroNormalised(source, 0.0, 1.0, is_nonzero=True)
            mean = statistics.mean if mean is None else mean
            deviation = statistics.std if deviation is None else deviation
        return NonzeroNormalised(source, mean, deviation or 1.0, is_nonzero=self.nonzero)

    def _require_own_statistics(self, source: SlicedSource, subject: Subject) -> None:
        """Refuse channels whose statistics would not be those that MONAI finds."""
        images = subject.get_images(intensity_only=True)
        if (source.shape[0] > 1 and self.channel_wise) or (
            len(images) > 1 and not self.channel_wise
        ):
            raise ModelError(
                f"the bundle's NormalizeIntensityd has channel_wise={self.channel_wise}, and the "
                f"subject has {len(images)} images, one of which has {source.shape[0]} channels. "
                "If channel_wise is True, give each channel as an image of its own; if it is "
                "False, give all of them as channels of one image; or pass preprocess=",
                code="BUNDLE_TRANSFORM",
                path=source.path,
            )


class ScaleIntensity(RescaleIntensity):
    """Map the range of an image onto another, as MONAI's of that name does without ``factor``."""

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        if len(subject.get_images(intensity_only=True)) > 1:
            raise ModelError(
                "the bundle's ScaleIntensityd scales all channels by their common range, but the "
                "subject has its channels as several images, which would be scaled separately: "
                "give them as channels of one image, or pass preprocess=",
                code="BUNDLE_TRANSFORM",
                path=source.path,
            )
        return super().apply(source, image, subject)


def _is_not_zero(voxels: Any) -> Any:
    return voxels != 0


@dataclass(frozen=True, eq=False)
class NonzeroNormalised(Floating):
    """Values less a mean, divided by a deviation; or those of them that are not 0.

    Attributes:
        mean: Becomes 0.
        deviation: Becomes 1; not 0.
        is_nonzero: Whether zeros stay what they are.
    """

    mean: float
    deviation: float
    is_nonzero: bool

    def function(self, values: NDArray) -> NDArray:
        wide = values.astype(np.float32)
        normalised = (wide - np.float32(self.mean)) / np.float32(self.deviation)
        if self.is_nonzero:
            normalised[wide == 0] = 0
        return normalised


@dataclass(frozen=True)
class CropForeground:
    """Crop all images to the box of voxels above 0, as MONAI's ``CropForegroundd``.

    The box is found in one pass over the images, in pieces.

    Attributes:
        margin: Voxels around the box, along W, H and D.
        allow_smaller: Whether the box ends with the volume; else zeros go on beyond it.
        divisor: Voxels along W, H and D, a multiple of which the box is enlarged to.
    """

    margin: tuple[int, int, int] = (0, 0, 0)
    allow_smaller: bool = False
    divisor: tuple[int, int, int] = (1, 1, 1)

    def __call__(self, subject: Subject) -> Subject:
        """The cropped subject.

        Raises:
            ModelError: If no voxel is above 0 (``BUNDLE_TRANSFORM``).
        """
        images = [i for i in subject.get_images(intensity_only=True) if isinstance(i, ScalarImage)]
        shape = images[0].spatial_shape
        bounds = self._bounds([image.source for image in images])
        cropped, padded = [], []
        for (first, stop), size in zip(bounds, shape, strict=True):
            cropped += [max(0, first), max(0, size - stop)]
            padded += [max(0, -first), max(0, stop - size)]
        result: Subject = Compose([Crop(cropped), Pad(padded)])(subject)
        return result

    def _bounds(self, sources: Sequence[Source]) -> list[tuple[int, int]]:
        lows, highs = np.full(3, np.iinfo(np.int64).max), np.full(3, -1)
        for source in sources:
            for box, voxels in pieces(source):
                for axis, positions in enumerate(box.spatial):
                    other_axes = tuple(a for a in range(4) if a != axis + 1)
                    (indices,) = np.nonzero((voxels > 0).any(axis=other_axes))
                    if len(indices):
                        lows[axis] = min(lows[axis], positions[int(indices[0])])
                        highs[axis] = max(highs[axis], positions[int(indices[-1])])
                del voxels  # or it would be held while the next one is read
        if highs[0] < 0:
            raise ModelError(
                "the bundle crops to the voxels above 0 (CropForegroundd), and the scan has none: "
                "check the scan, or leave this scan out",
                code="BUNDLE_TRANSFORM",
                path=sources[0].path,
            )
        bounds = []
        for axis, size in enumerate(sources[0].shape[1:]):
            first, stop = lows[axis] - self.margin[axis], highs[axis] + self.margin[axis] + 1
            if self.allow_smaller:
                first, stop = max(first, 0), min(stop, size)
            enlarged = -(-(stop - first) // self.divisor[axis]) * self.divisor[axis]
            first -= (enlarged - (stop - first)) // 2
            bounds.append((int(first), int(first + enlarged)))
        return bounds
