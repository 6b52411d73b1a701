"""Intensities that mean the same in every scan, by landmarks of their histograms."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.history import Entry, entry
from voxarray.core.progress import Progress, ProgressOption, reporting_each, title_of
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.ops.intensity import Standardised
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.measure import statistics_of
from voxarray.subject import Subject
from voxarray.transforms import histogram_landmarks as marks
from voxarray.transforms.masking import MaskingMethod, mask_of, name_of
from voxarray.transforms.normalization import NormalizationTransform

Path = str | os.PathLike[str]


class HistogramStandardization(NormalizationTransform):
    """Map the percentiles of an image to trained landmarks; the result is float32.

    Examples:
        >>> scan = vx.testing.sample()
        >>> import numpy as np
        >>> landmarks = np.linspace(0, 100, 13)
        >>> standardize = vx.HistogramStandardization({"t1": landmarks})
        >>> float(standardize(vx.Subject(t1=scan)).t1.numpy().max()) > 90
        True

    Args:
        landmarks: Dict from names of images to arrays that `train` returned, or to paths of
            ``.npy`` files; or the path of an ``.npz`` file of such arrays. A single array or
            ``.npy`` file is for all images.
        masking_method: Which voxels the percentiles are computed from, as in
            `NormalizationTransform`.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: If landmarks are not 13 ascending numbers.
        UnsupportedError: For other files (``UNKNOWN_SUFFIX``); pickled files are not read.
        KeyError: When applied to an image that has no landmarks.
    """

    args_names: ClassVar[tuple[str, ...]] = ("landmarks", "masking_method")

    def __init__(self, landmarks: Any, masking_method: MaskingMethod = None, **kwargs: Any) -> None:
        super().__init__(masking_method=masking_method, **kwargs)
        self.landmarks = marks.parsed(landmarks)

    def normalised(self, source: SlicedSource, mask: Source | None, name: str) -> Source:
        landmarks = self._landmarks_of(name)
        statistics = self.statistics(source, mask, name)
        if not statistics.count:
            raise StateError(
                f'the mask of image "{name}" is empty, so there are no voxels for percentiles: '
                "give another mask, or leave the image out with exclude=",
                code="EMPTY_MASK",
            )
        percentiles = statistics.percentiles(marks.percentages(marks.DEFAULT_CUTOFF))
        used = list(marks.USED)
        return Standardised(
            source, tuple(percentiles[used].tolist()), tuple(landmarks[used].tolist())
        )

    def entries(self, image: Image, subject: Subject) -> tuple[Entry, ...]:
        landmarks = self._landmarks_of(name_of(image, subject))
        arguments = {"landmarks": landmarks, "masking_method": self.masking_method}
        return (entry(self.name, arguments, self.version),)

    def _landmarks_of(self, name: str) -> marks.Landmarks:
        if not isinstance(self.landmarks, dict):
            return self.landmarks
        if name not in self.landmarks:
            raise KeyError(
                f'Image name "{name}" should be a key in the landmarks dictionary, whose keys are '
                f"{tuple(self.landmarks)}"
            )
        return self.landmarks[name]

    @classmethod
    def train(
        cls,
        images_paths: Sequence[Path | Image],
        cutoff: tuple[float, float] | None = None,
        mask_path: Path | LabelMap | Sequence[Path | LabelMap] | None = None,
        masking_function: Callable[[Any], Any] | None = None,
        output_path: Path | None = None,
        *,
        progress: ProgressOption = None,
    ) -> NDArray[np.float64]:
        """Train the landmarks of a standard histogram from images, which are read piece by piece.

        Args:
            images_paths: Paths, or images.
            cutoff: Lower and upper quantile of the range of intensities to standardise; by default
                0.01 and 0.99.
            mask_path: Label map; only voxels where it is above 0 are used: one for all images, or
                one for each.
            masking_function: A ``masking_method`` as for the class, to use instead of
                ``mask_path``.
            output_path: Where to save the landmarks: ``.npy``, which the class reads again, or
                ``.txt``, which it does not read.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all), called image by image.

        Raises:
            ValueError: Without images, with a different number of masks, or if the cutoff is not a
                range.
            StateError: If a mask is empty, or voxels are NaN (``EMPTY_MASK``, ``NOT_FINITE``).
        """
        low, high = marks.DEFAULT_CUTOFF if cutoff is None else cutoff
        percents = marks.percentages((low, high))
        if not 0 <= low < high <= 1 or len(percents) != marks.NUMBER:
            raise ValueError(
                "cutoff is a pair of quantiles, the first below 0.1 and the second above 0.9, "
                f"not {cutoff}"
            )
        if not images_paths:
            raise ValueError("at least one image is needed to train with")
        masks = _masks(mask_path, len(images_paths))
        rows = []
        with reporting_each(progress, len(masks)) as begin:
            for item, mask in zip(images_paths, masks, strict=True):
                image = item if isinstance(item, Image) else ScalarImage(item)
                method = masking_function or (None if mask is None else "mask")
                report = begin(title_of(image.source.path, "histogram"))
                rows.append(_percentiles(image, mask, method, percents, report))
        landmarks = marks.averaged(np.vstack(rows))
        if output_path is not None:
            marks.write(landmarks, output_path)
        return landmarks


def _percentiles(
    image: Image,
    mask: LabelMap | None,
    method: MaskingMethod,
    percents: NDArray[np.float64],
    report: Progress,
) -> NDArray[np.float64]:
    source = image.source
    masks: Mapping[str, Any] = {} if mask is None else {"mask": mask}
    chosen = mask_of(method, source, Subject(image=image, **masks))
    statistics = statistics_of(source, chosen, report)
    if statistics.not_finite:
        raise StateError(
            f"{image!r} cannot be used for training: within the mask, {statistics.not_finite:,} "
            f"{'voxel is' if statistics.not_finite == 1 else 'voxels are'} NaN or infinite; mask "
            "these out, or replace them first",
            code="NOT_FINITE",
        )
    if not statistics.count:
        raise StateError(
            f"{image!r} cannot be used for training: its mask is empty; give another mask, or "
            "leave this image out",
            code="EMPTY_MASK",
        )
    return statistics.percentiles(percents)


def _masks(mask_path: Any, number: int) -> list[LabelMap | None]:
    if mask_path is None:
        return [None] * number
    if isinstance(mask_path, (str, os.PathLike, LabelMap)):
        mask_path = [mask_path] * number
    masks: list[LabelMap | None] = [
        item if isinstance(item, LabelMap) else LabelMap(item) for item in mask_path
    ]
    if len(masks) != number:
        raise ValueError(
            f"{number} paths of images, but {len(masks)} of masks: give one mask for all images, "
            "or one for each"
        )
    return masks
