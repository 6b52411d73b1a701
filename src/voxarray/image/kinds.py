"""Images of measurements and images of labels."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeVar

from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import INTENSITY, LABEL, TYPE
from voxarray.core.progress import ProgressOption, reporting, title_of
from voxarray.image.image import Image

Kind = TypeVar("Kind", bound=Image)


class ScalarImage(Image):
    """Image whose voxels are measurements, such as a CT or MR scan; arguments as for `Image`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> scan.type
        'intensity'
    """

    fixed_type: ClassVar[str | None] = INTENSITY

    def clamp(self, out_min: float | None = None, out_max: float | None = None) -> Self:
        """The image with values kept within bounds; as `Clamp`."""
        return self._transformed("Clamp", out_min, out_max)

    def rescale_intensity(
        self, out_min_max: Any = (0, 1), percentiles: Any = (0, 100), **kwargs: Any
    ) -> Self:
        """The image with its intensities mapped to another range; as `RescaleIntensity`.

        Args:
            out_min_max: Range of the result.
            percentiles: Values outside these percentiles are clipped to them.
            **kwargs: As for `RescaleIntensity`: ``in_min_max``, ``masking_method``.
        """
        return self._transformed("RescaleIntensity", out_min_max, percentiles, **kwargs)


class LabelMap(Image):
    """Image whose voxels are labels, such as a segmentation; arguments as for `Image`.

    A sequence of paths makes one channel per file, for overlapping labels or tissue probability
    maps. Labels are never averaged, so no new value appears. Resampling takes the nearest
    neighbour, or, with ``label_interpolation="label_gaussian"``, the label with the most weight
    nearby. Pyramids take the most frequent label.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> labels.type
        'label'
    """

    fixed_type: ClassVar[str | None] = LABEL

    def count_nonzero(self, *, progress: ProgressOption = None) -> int:
        """Number of voxels that are not 0, counted piece by piece.

        Args:
            progress: As for `statistics`.
        """
        from voxarray.statistics.value_counts import count_nonzero

        source = self.source
        with reporting(progress, title_of(source.path, "voxels that are not 0")) as report:
            return count_nonzero(source, report)

    @names_exhaustion
    def count_labels(self, *, progress: ProgressOption = None) -> dict[int | float, int]:
        """Number of voxels of each label, ascending, counted piece by piece.

        Keys are integers, even if the file stores floats; only values that are not whole numbers
        have floats as keys, as in TorchIO.

        Args:
            progress: As for `statistics`.

        Raises:
            UnsupportedError: If there are more than a million different values.
        """
        from voxarray.statistics.value_counts import count_values

        source = self.source
        with reporting(progress, title_of(source.path, "labels")) as report:
            return count_values(source, report).as_dict()


def of_class(image: Image, cls: type[Kind], kind: str | None) -> Kind:
    """The same image as one of another class, with another type."""
    result = cls.__new__(cls)
    dict.update(result, {**dict(image), TYPE: kind})
    result.__dict__.update(image.__dict__)
    return result
