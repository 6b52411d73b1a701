"""Transforms of label maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from voxarray.core.errors import StateError, UnsupportedError
from voxarray.core.exact_values import holds, type_for_labels
from voxarray.image import Image
from voxarray.ops.connected_components import LargestComponent, largest_component
from voxarray.ops.contour import Contour as ContourOperation
from voxarray.ops.labels import OneHot as OneHotOperation
from voxarray.ops.masks import Chosen
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.value_counts import count_values
from voxarray.subject import Subject
from voxarray.transforms.label_names import NamedRemapped
from voxarray.transforms.masking import MaskingMethod, mask_of
from voxarray.transforms.transform import LabelTransform


class RemapLabels(LabelTransform):
    """Replace labels by others, all at once.

    If labels have names, these go with them. A new label that has a name keeps its own. If the new
    label has none, but occurs in the map, it stays without: two different things would bear one
    name. To know whether it occurs, a map whose labels have names is read once when the names are
    asked for, unless its archive has counted its labels.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> int(vx.RemapLabels({1: 7})(labels).numpy().max())
        7

    Args:
        remapping: Dict from old labels to new labels; other labels stay. If the type is too
            small for the new labels, the result has the next larger type of its kind; this holds
            for floats, too.
        masking_method: Voxels in which labels are replaced, as in `NormalizationTransform`; by
            default all.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        TypeError: If the remapping is not a dict.
        ValueError: If labels are not numbers.
        UnsupportedError: When applied, if no type holds the new labels (``UNSUPPORTED_DTYPE``).
    """

    args_names: ClassVar[tuple[str, ...]] = ("remapping", "masking_method")

    def __init__(
        self,
        remapping: Mapping[int, int],
        masking_method: MaskingMethod = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.remapping = _labels_by_label(remapping)
        self.masking_method = masking_method

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        return remapped(source, self.remapping, mask_of(self.masking_method, source, subject))


class RemoveLabels(LabelTransform):
    """Replace labels by the background label.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> int(vx.RemoveLabels([1])(labels).numpy().max())
        0

    Args:
        labels: Labels to remove.
        background_label: Label that replaces them.
        masking_method: Voxels in which labels are changed, as for `RemapLabels`.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        TypeError: If the labels are not several.
        ValueError: If labels are not numbers.
    """

    args_names: ClassVar[tuple[str, ...]] = ("labels", "background_label", "masking_method")

    def __init__(
        self,
        labels: Sequence[int],
        background_label: int = 0,
        masking_method: MaskingMethod = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise TypeError(f"the labels to remove are a list, such as [1, 2], not {labels!r}")
        self.labels, self.background_label = list(labels), background_label
        self.masking_method = masking_method
        self._remapping = _labels_by_label(dict.fromkeys(self.labels, background_label))

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        mask = mask_of(self.masking_method, source, subject)
        return remapped(source, self._remapping, mask, removing=True)


class SequentialLabels(LabelTransform):
    """Renumber the labels that occur, in ascending order from 0; the map is read once to find them.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> sparse = vx.RemapLabels({1: 40})(labels)
        >>> int(vx.SequentialLabels()(sparse).numpy().max())
        1

    Args:
        masking_method: Voxels in which labels are changed, as for `RemapLabels`.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        UnsupportedError: When applied, if there are more than a million labels.
    """

    args_names: ClassVar[tuple[str, ...]] = ("masking_method",)

    def __init__(self, masking_method: MaskingMethod = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.masking_method = masking_method

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        labels = count_values(source).values.tolist()
        remapping = {old: new for new, old in enumerate(labels)}
        mask = mask_of(self.masking_method, source, subject)
        return remapped(source, remapping, mask, complete=True)


class OneHot(LabelTransform):
    """Make one channel per label: in channel ``n``, voxels of label ``n`` are 1, all others 0.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> vx.OneHot()(labels).shape
        (2, 64, 56, 48)

    Args:
        num_classes: Number of channels; by default one more than the largest label, which is found
            by reading the label map once.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        ValueError: For a number that is neither positive nor -1.
        StateError: When applied to several channels (``SEVERAL_CHANNELS``); also a RuntimeError.
        UnsupportedError: If there are other labels than 0 to ``num_classes - 1``
            (``LABEL_WITHOUT_CLASS``), such as fractions. Without ``num_classes``, negative or
            infinite labels and NaN raise the error when the transform is applied. All other cases
            raise it when voxels are read.
    """

    args_names: ClassVar[tuple[str, ...]] = ("num_classes",)

    def __init__(self, num_classes: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes is None:
            num_classes = -1
        is_number = isinstance(num_classes, (int, float, np.integer))
        if not is_number or (num_classes != -1 and not 1 <= num_classes == num_classes // 1):
            raise ValueError(
                f"num_classes is positive and whole, or -1 to find it, not {num_classes!r}"
            )
        self.num_classes = num_classes

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        _require_one_channel(source)
        if self.num_classes > 0:
            return OneHotOperation(source, int(self.num_classes))
        labels = count_values(source).values
        if not labels[0] >= 0 or not np.isfinite(labels[-1]):
            raise UnsupportedError(
                "each label becomes the channel of that number, from 0 on, but there are labels "
                f"from {labels[0]} to {labels[-1]}: remap them",
                code="LABEL_WITHOUT_CLASS",
            )
        return OneHotOperation(source, int(labels[-1]) + 1)


class KeepLargestComponent(LabelTransform):
    """Set the largest connected object (voxels other than 0 that share faces) to 1, the rest to 0.

    The label map is read once to find it, block by block. If several objects have that size, the
    first one in disk order is kept. The result is uint8.

    The arguments are those of `Transform`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> vx.KeepLargestComponent()(labels).shape
        (1, 64, 56, 48)

    Raises:
        StateError: When applied to several channels (``SEVERAL_CHANNELS``); also a RuntimeError.
    """

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        _require_one_channel(source)
        return LargestComponent(source, largest_component(source))


class Contour(LabelTransform):
    """Keep only the border of the object whose label is 1; other labels stay as they are.

    A voxel of the object is set to 0 unless one of its faces touches a voxel of another value.

    The arguments are those of `Transform`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> labels = vx.LabelMap(tensor=(scan.numpy() > 500).astype("u1"), affine=scan.affine)
        >>> subject = vx.Subject(t1=scan, brain=labels)
        >>> int(vx.Contour()(labels).numpy().sum()) < int(labels.numpy().sum())
        True

    Raises:
        StateError: When applied to several channels (``SEVERAL_CHANNELS``); also a RuntimeError.
    """

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        _require_one_channel(source)
        return ContourOperation(source)


def remapped(
    source: SlicedSource,
    remapping: Mapping[Any, Any],
    mask: Source | None,
    *,
    removing: bool = False,
    complete: bool = False,
) -> Source:
    """Labels replaced by others where a mask is not 0, or everywhere.

    Args:
        source: The label map.
        remapping: New labels by old ones.
        mask: Where; None for everywhere.
        removing: Whether the new labels are a background, which takes no names.
        complete: Whether ``remapping`` has all labels that occur.
    """
    if not remapping:
        return source
    for new in remapping.values():
        if source.dtype.kind in "biu" and not float(new).is_integer():
            raise ValueError(
                f"{new} is not a label: labels of a {source.dtype} image are whole numbers"
            )
    dtype = type_for_labels(source.dtype, remapping.values())
    if dtype is None:
        low, high = min(remapping.values()), max(remapping.values())
        raise UnsupportedError(
            f"new labels from {low} to {high} do not fit into an image of {source.dtype}, nor into "
            "a larger type of its kind: choose smaller ones",
            code="UNSUPPORTED_DTYPE",
        )
    old = sorted(label for label in remapping if holds(source.dtype, label))
    moved = tuple((label, remapping[label]) for label in old)
    new = tuple(label for _, label in moved)
    masked = mask is not None
    changed = NamedRemapped(source, tuple(old), new, dtype, moved, masked, removing, complete)
    if mask is None:
        return changed
    if dtype == source.dtype and not source.label_table:
        return Chosen(changed, mask, source)
    return Chosen(changed, mask, replace(changed, old=(), new=()))


def _labels_by_label(remapping: Mapping[Any, Any]) -> dict[Any, Any]:
    if not isinstance(remapping, Mapping):
        raise TypeError(
            "a remapping is a dict from old labels to new ones, such as {1: 7}, "
            f"not {remapping!r}"
        )
    pairs = {}
    # As a history has it, where JSON knows no other keys than text.
    recorded = remapping["pairs"] if set(remapping) == {"pairs"} else None
    for pair in recorded or remapping.items():
        if not all(isinstance(label, (int, float, np.number)) and label == label for label in pair):
            raise ValueError(f"labels must be numbers, not {pair[0]!r}: {pair[1]!r}")
        old, new = (label.item() if isinstance(label, np.generic) else label for label in pair)
        pairs[old] = new
    return pairs


def _require_one_channel(source: Source) -> None:
    if source.shape[0] > 1:
        raise StateError(
            f"The number of input channels must be 1, but it is {source.shape[0]}: take one, as "
            "image[:1, :, :, :]",
            code="SEVERAL_CHANNELS",
        )
