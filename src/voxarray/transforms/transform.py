"""What all transforms share: whom they apply to, what they return, and what they leave behind.

A transform takes an image and makes a lazy one: a source that is computed from the image's. It
changes nothing that it was given, reads nothing that its result does not depend on, and leaves an
entry in the image's history.

One rule holds for memory, whatever the data: a result shares none that can be edited with what it
was made from. Voxels in memory are copied when the result's are first asked for, and only then.
"""

from __future__ import annotations

import copy as copies
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import FormatError, MissingImageError, VoxarrayWarning
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.history import Entry, entry
from voxarray.core.html_table import html_table
from voxarray.core.keys import DATA
from voxarray.core.names_elsewhere import listed
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.image._aliasing import private_copy
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.subject import Subject
from voxarray.transforms.argument_names import argument_names
from voxarray.transforms.input_kinds import ONLY, parsed
from voxarray.transforms.mask_history import with_mask

Data = TypeVar("Data")


class Transform:
    """A function of images, with TorchIO's name and arguments.

    Calling it takes an `Image`, a `Subject`, a dict of images, a `DataArray`, or a 4D array or
    tensor (C, W, H, D), and returns the same kind. Images and DataArrays stay lazy.

    Subclasses define `apply`, or `apply_transform` if they are made of other transforms, and name
    their arguments in `args_names`; each is an attribute. `apply` gets the voxels of one image as a
    lazy source, the image and its subject. It returns a source, such as `Lambda` makes of a
    function of the voxels.

    Examples:
        >>> scan = vx.testing.sample()
        >>> isinstance(vx.Flip(0), vx.Transform)
        True
        >>> vx.Flip(0).name
        'Flip'
        >>> class Negative(vx.Transform):
        ...     def applies_to(self, image):
        ...         return isinstance(image, vx.ScalarImage)  # leaves label maps as they are
        ...
        ...     def apply(self, source, image, subject):
        ...         return vx.Lambda(lambda voxels: -voxels).apply(source, image, subject)
        >>> bool((Negative()(scan).numpy() == -scan.numpy()).all())
        True

    Args:
        include: Names of the images to apply it to; by default all. For arrays in a dict, it is
            required.
        exclude: Names of images to leave alone.
        keep: Input images to keep in the output under a new name: ``{"t1": "t1_original"}``.
        label_keys: Names of the arrays in a dict, or of the DataArrays, that are label maps.
        copy: If true, the result is a new image or subject, and the input never changes. If false,
            the input itself is changed and returned.

    Raises:
        TypeError: For an argument that the transform does not take; the error names those it does.
        ValueError: If names are not a sequence of texts, or both ``include`` and ``exclude`` are
            given.
    """

    version: ClassVar[int] = 1
    """Grows when the same arguments make other voxels."""

    args_names: ClassVar[tuple[str, ...]] = ()
    """Arguments that make the transform again, in the order in which it shows them."""

    def __init__(
        self,
        *,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        keep: Mapping[str, str] | None = None,
        label_keys: Sequence[str] | None = None,
        copy: bool = True,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise TypeError(
                f"{self.name}() got an unexpected keyword argument {next(iter(unknown))!r}: it "
                f"takes {', '.join(argument_names(type(self)))}"
            )
        if include is not None and exclude is not None:
            raise ValueError("include and exclude cannot both be given")
        _require_names(include, "include")
        _require_names(exclude, "exclude")
        _require_names(label_keys, "label_keys")
        self.include, self.exclude, self.keep = include, exclude, keep
        self.label_keys, self.copy = label_keys, copy

    @names_exhaustion
    def __call__(self, data: Data) -> Data:
        """Apply the transform to data of one of the kinds that `Transform` lists.

        Raises:
            TypeError: For data of any other kind.
            MissingImageError: If ``keep`` names an image that there is not (``NO_SUCH_IMAGE``).
            FormatError: If `apply` of a class of your own returns no source, or its
                `apply_transform` no subject (``BAD_TRANSFORM``).

        Warns:
            VoxarrayWarning: If ``include`` names none of the images (``NOT_INCLUDED``): the
                transform leaves them as they are. Also if ``keep`` gives an image a name that the
                subject already has (``FIELD_REPLACED``): what had the name is replaced.
        """
        subject, unparsed = parsed(data, self.include, self.label_keys)
        result = self._applied(subject, detach=self.copy)
        transformed: Data = unparsed(result, in_place=not self.copy)
        return transformed

    def _applied(self, subject: Subject, *, detach: bool) -> Subject:
        """The subject after the transform, and what is to be kept.

        Args:
            subject: Left as it is if it is detached; its images may be edited otherwise.
            detach: Whether its images are those of a caller. They are detached once, here, and
                not again by the transforms that this one is made of.
        """
        originals = {
            new: subject.get_image(old)._detached() if detach else snapshot(subject.get_image(old))
            for old, new in self._kept_names(subject).items()
        }
        result = detached(subject) if detach else copies.copy(subject)
        if self._includes_any(subject):
            result = self._with_result(self.apply_transform(result))
        for name, image in originals.items():
            result.add_image(image, name)
        return result

    def _with_result(self, result: object) -> Subject:
        """What `apply_transform` returned, if it is a subject."""
        if not isinstance(result, Subject):
            raise FormatError(
                f"{self.name}.apply_transform returned {type(result).__name__}, not a subject: "
                "return the subject that it was given, with the new images in it, or another "
                "vx.Subject; if nothing changes, return the subject as it is",
                code="BAD_TRANSFORM",
            )
        return result

    def _kept_names(self, subject: Subject) -> Mapping[str, str]:
        """``keep``, of images that there are; a warning tells of fields that they replace."""
        names = list(subject.get_images_dict(intensity_only=False))
        for old, new in (self.keep or {}).items():
            if old not in names:
                raise MissingImageError(
                    f"keep names an image {old!r} for {self.name}, and the subject has "
                    f"{listed(names)}: name one of these"
                )
            if new in subject:
                warn_caller(
                    f"FIELD_REPLACED: the subject already has {new!r}; it is replaced by the image "
                    f"{old!r}, which {self.name} keeps: to have both, choose another name in keep=",
                    VoxarrayWarning,
                )
        return self.keep or {}

    def _includes_any(self, subject: Subject) -> bool:
        """Whether ``include`` names any image; a warning says if not: a wrong name is likely."""
        names = list(subject.get_images_dict(intensity_only=False))
        if self.include is None or any(name in names for name in self.include):
            return True
        lone = f" (a single image is called {ONLY!r}: vx.Subject(t1=image) names it)"
        warn_caller(
            f"NOT_INCLUDED: {self.name} changes nothing: include={list(self.include)} names none "
            f"of the images, {listed(names)}{lone if names == [ONLY] else ''}",
            VoxarrayWarning,
        )
        return False

    def apply_transform(self, subject: Subject) -> Subject:
        """Apply the transform to the images of a subject, and return the subject.

        The subject that is given may itself be changed and returned.
        """
        images = self.get_images(subject)
        results = {name: self.transformed(image, subject) for name, image in images.items()}
        for name, image in results.items():
            subject[name] = image
        return subject

    def get_images(self, subject: Subject) -> dict[str, Image]:
        """The images of a subject that the transform applies to, by name."""
        images = subject.get_images_dict(False, self.include, self.exclude)
        return {name: image for name, image in images.items() if self.applies_to(image)}

    def applies_to(self, image: Image) -> bool:
        """Whether the transform applies to images of this kind."""
        return True

    def transformed(self, image: Image, subject: Subject) -> Image:
        """The image after the transform, with an entry in its history.

        Raises:
            FormatError: If `apply` returns anything but a source (``BAD_TRANSFORM``).
        """
        source = image.source
        result = self.apply(source, image, subject)
        if result is source:
            return image
        if not isinstance(result, Source):
            raise FormatError(
                f"{self.name}.apply returned {type(result).__name__}, not a source of voxels: for "
                "a function of the voxels, return vx.Lambda(function).apply(source, image, "
                "subject); for the result of another transform, return what its apply returns; "
                "if nothing changes, return source itself",
                code="BAD_TRANSFORM",
            )
        entries = self.entries(image, subject)
        mask = getattr(self, "masking_method", None)
        if isinstance(mask, str) and isinstance(subject.get(mask), Image):
            entries = with_mask(entries, source.history, subject[mask].history)
        history = (*source.history, *entries)
        return image._on(replace(SlicedSource.of(result), history=history))

    def apply(self, source: SlicedSource, image: Image, subject: Subject) -> Source:
        """The voxels after the transform, as a lazy source; ``source`` itself if nothing changes.

        Args:
            source: The voxels of the image.
            image: The image itself, for its type and metadata.
            subject: The subject with all images, as they were before the transform.
        """
        raise NotImplementedError(f"{self.name} defines neither apply nor apply_transform")

    def entries(self, image: Image, subject: Subject) -> tuple[Entry, ...]:
        """What the transform adds to the history of an image; enough to apply it again."""
        return (entry(type(self).__name__, self.arguments, self.version),)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that the class names in `args_names`, as a dict from names to values."""
        return {name: getattr(self, name) for name in self.args_names}

    @property
    def shared_arguments(self) -> dict[str, Any]:
        """The arguments of `Transform` itself, to pass on to transforms that this one applies."""
        return {"include": self.include, "exclude": self.exclude, "label_keys": self.label_keys}

    @property
    def name(self) -> str:
        """Name of the class."""
        return type(self).__name__

    def _repr_html_(self) -> str:
        """A table of the arguments, for notebooks."""
        return html_table(self.name, self.arguments)

    def __repr__(self) -> str:
        text = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.name}({text})"


class SpatialTransform(Transform):
    """A transform that moves or resamples voxels; it applies to images of all types.

    Examples:
        >>> isinstance(vx.Flip(0), vx.transforms.SpatialTransform)
        True
    """


class IntensityTransform(Transform):
    """A transform of intensities; it does not change label maps.

    Examples:
        >>> isinstance(vx.Clamp(0, 1), vx.transforms.IntensityTransform)
        True
    """

    def applies_to(self, image: Image) -> bool:
        return isinstance(image, ScalarImage)


class LabelTransform(Transform):
    """A transform of label maps; it does not change other images.

    Examples:
        >>> isinstance(vx.OneHot(), vx.transforms.LabelTransform)
        True
    """

    def applies_to(self, image: Image) -> bool:
        return isinstance(image, LabelMap)


def detached(subject: Subject) -> Subject:
    """A subject that can be edited, images and all, without a change to the given one."""
    result = copies.copy(subject)
    for name, value in subject.items():
        result[name] = value._detached() if isinstance(value, Image) else private_copy(value)
    return result


def snapshot(image: Image) -> Image:
    """The image as it is now, whatever a transform that may edit it does to it.

    Of a detached image that is not loaded this copies nothing: an edit would be one of a copy.
    """
    is_safe = image._shares and DATA not in image
    return image._detached() if is_safe else copies.deepcopy(image)


def _require_names(names: object, argument: str) -> None:
    if names is None:
        return
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"{argument} is a sequence of names, such as ['t1'], not {names!r}")
