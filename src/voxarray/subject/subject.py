"""`Subject`: the images of one patient by name, with what else is known."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voxarray import saving
from voxarray.bridges.foreign_images import require_no_image
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.keys import LABEL
from voxarray.core.names_elsewhere import SUBJECT, listed
from voxarray.core.progress import ProgressOption
from voxarray.geometry.grid import SAME_GRID_TOLERANCE, Grid
from voxarray.geometry.pyramid_levels import Levels
from voxarray.geometry.selection import Shape3, Shape4
from voxarray.image import Image, ScalarImage
from voxarray.storage.saved_together import OpenedTogether
from voxarray.subject import destinations, same_geometry
from voxarray.subject._plotting import PlotMixin
from voxarray.subject.saving_call import SavingCall
from voxarray.tensors.collate_registration import register_collation

_OF_COHORT = "; kept columns of a cohort, such as an age, are in cohort.table"


class Subject(PlotMixin, dict[str, Any]):
    """Named images and metadata; images are not read before they are needed.

    A field is found by key, ``subject["t1"]``, and by attribute, ``subject.t1``, unless `Subject`
    has a member of that name. As in TorchIO, ``len`` counts the images, and integers, slices and
    ``...`` in brackets slice all of them.

    Examples:
        >>> scan = vx.testing.sample()
        >>> subject = vx.Subject(t1=scan, age=40)
        >>> subject.t1.shape, subject["age"]
        ((1, 64, 56, 48), 40)

    Args:
        *fields: At most one mapping of names to images and metadata.
        **more: Images and metadata by keyword. Keywords come before the mapping in the order of
            fields, but the mapping overrides equal names, as in TorchIO.

    Raises:
        TypeError: If there is no image, an image is given without a name, or one is of TorchIO,
            nibabel or SimpleITK: transforms would leave it as it is.
        ValueError: For several positional arguments, or one that is not a mapping.
    """

    def __init__(self, *fields: Mapping[str, Any], **more: Any) -> None:
        if len(fields) > 1 or not all(isinstance(item, Mapping) for item in fields):
            is_path = len(fields) == 1 and isinstance(fields[0], (str, os.PathLike))
            how = "; images are opened by themselves, vx.Subject(t1=vx.ScalarImage(path))"
            raise ValueError(
                f"Only one dictionary as positional argument is allowed{how if is_path else ''}"
            )
        if fields and isinstance(fields[0], Image):
            raise TypeError("an image needs a name: use Subject(t1=image)")
        super().__init__()
        register_collation(Subject)
        for key, value in {**more, **(fields[0] if fields else {})}.items():
            self[key] = value
        if not self.get_images_dict(intensity_only=False):
            raise TypeError("A subject without images cannot be created: use Subject(t1=image)")

    @classmethod
    def of(cls, images: Mapping[str, Any]) -> Subject:
        """The subject itself, or a subject made of a plain dict."""
        return images if isinstance(images, Subject) else cls(images)

    # --- Fields ---------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """For a text, the field of that name; otherwise a subject with all images sliced alike.

        Slicing reads nothing. Images on different grids can only be sliced one by one: the same
        index is a different place in each image. Channels alone can be selected on any grids.

        Raises:
            KeyError: If there is no such field.
            StateError: If the images are on different grids (``GRIDS_DIFFER``); also a
                RuntimeError.
            IndexError, TypeError, ValueError: As for images.
        """
        if isinstance(key, str):
            # Torch may have been imported after this was made, and be collating it right now.
            register_collation(Image)
            register_collation(Subject)
            try:
                return super().__getitem__(key)
            except KeyError:
                # Only subjects of a cohort have their own name as a field.
                hint = _OF_COHORT if isinstance(self.get("subject"), str) else ""
                raise KeyError(
                    f"no field {key!r} in the subject, which has {listed(self)}{hint}"
                ) from None
        same_geometry.require_sliced_alike(self._images, key)
        sliced = self.copy()
        for name, image in self._images.items():
            sliced[name] = image[key]
        return sliced

    def __getstate__(self) -> dict[str, Any] | None:
        """What copies and pickles have beside the fields, whose images they open for themselves."""
        rest = {name: value for name, value in self.__dict__.items() if name != "_together"}
        return rest or None

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"fields of a subject are named by text, not by {key!r}")
        if isinstance(value, Image):
            value._join(self.__dict__.setdefault("_together", OpenedTogether()))
        else:
            require_no_image(key, value)
        super().__setitem__(key, value)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            hint = SUBJECT.get(name, f"its fields are {listed(self)}")
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}: {hint}"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._require_field_name(name)
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self._require_field_name(name)
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __len__(self) -> int:
        return len(self._images)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}(Keys: {tuple(self)}; images: {len(self)})"

    def copy(self) -> Self:
        """A new subject with the same images, like `copy.copy`."""
        return copy.copy(self)

    # --- Images ---------------------------------------------------------------------------------

    def get_images_dict(
        self,
        intensity_only: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> dict[str, Image]:
        """Images by name.

        Args:
            intensity_only: Leave out all but instances of `ScalarImage`.
            include: Names to choose from; by default all.
            exclude: Names to leave out.
        """
        kind = ScalarImage if intensity_only else Image
        return {
            name: value
            for name, value in self.items()
            if isinstance(value, kind)
            and (include is None or name in include)
            and (exclude is None or name not in exclude)
        }

    def get_images(
        self,
        intensity_only: bool = True,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> list[Image]:
        """Images in the order in which they were given; arguments as in `get_images_dict`."""
        return list(self.get_images_dict(intensity_only, include, exclude).values())

    def get_images_names(self) -> list[str]:
        """Names of all images."""
        return list(self._images)

    def get_image(self, image_name: str) -> Image:
        """The image of that name.

        Raises:
            KeyError: If there is no such image.
        """
        return self._images[image_name]

    def get_first_image(self) -> Image:
        """The image that was given first."""
        return next(iter(self._images.values()))

    def add_image(self, image: Image, image_name: str) -> None:
        """Add or replace an image.

        Raises:
            ValueError: If it is not an image, or the name is not text.
        """
        if not isinstance(image, Image) or not isinstance(image_name, str):
            raise ValueError(
                f"add_image takes an image and its name, not {type(image).__name__} and "
                f"{type(image_name).__name__}"
            )
        self[image_name] = image

    def remove_image(self, image_name: str) -> None:
        """Remove an image.

        Raises:
            KeyError: If there is no such image.
        """
        self.get_image(image_name)
        del self[image_name]

    def load(self) -> None:
        """Read the voxels of all images."""
        for image in self._images.values():
            image.load()

    def unload(self) -> None:
        """Forget the voxels of all images.

        Raises:
            StateError: As `Image.unload`.
        """
        for image in self._images.values():
            image.unload()

    @names_exhaustion
    def save(
        self,
        folder: str | os.PathLike[str],
        suffix: str = ".ome.zarr",
        *,
        overwrite: bool = False,
        codec: str | None = None,
        levels: Levels = None,
        chunks: int | None = None,
        progress: ProgressOption = None,
    ) -> None:
        """Write every image to a file or archive of its own, named as in the subject.

        The files appear one after the other, each when it is complete; metadata of the subject are
        not written. A call with ``overwrite`` that is interrupted may leave new files beside old
        ones. So may two calls at the same time; then the call whose files were replaced raises an
        error (``OVERTAKEN``). Each archive records which call saved it. If two calls saved the same
        images to one folder, and a `Subject` is given one archive of each call, opening the second
        one raises an error (``SAVED_APART``). `voxarray.verify` of the folder finds them, too.
        Files of other formats hold no such record.

        Open the saved files again one by one:
        ``vx.Subject(t1=vx.ScalarImage("folder/t1.ome.zarr"))``.

        Args:
            folder: Folder; it is created if it is missing.
            suffix: Suffix of a format that `Image.save` can write, such as ``".nii.gz"``.
            overwrite: Replace existing files. Without it, nothing is written if any of them exists.
            codec: Profile of an archive's codec: one of the profiles that `Image.save` lists. For
                other formats, ``codec``, ``levels`` and ``chunks`` raise an error.
            levels: Pyramid levels of an archive. A number is the number of levels, full
                resolution included. A list such as ``[4, 16]`` says how many times coarser than
                full resolution each level is. ``"all"`` stands for 2, 4, 8, ... By default, the
                levels are 4, 8, 16, ... times coarser.
            chunks: Edge of an archive's chunks, in voxels.
            progress: True shows a progress bar, False none, None (the default) only in a terminal
                or notebook; or a function of (bytes done, bytes in all), called image by image.

        Raises:
            ArchiveExistsError: If one exists and ``overwrite`` is not set.
            ArchiveError: If writing fails; or if another process has replaced one of the files
                before the last one was written (``OVERTAKEN``).
            ValueError: If the name of an image cannot be a file name, or the folder is named like
                an image file.
            UnsupportedError: As `Image.save`.
        """
        targets = destinations.prepared(folder, self._images, suffix, overwrite)
        call = SavingCall(targets.values())
        for name, path in targets.items():
            image = self._images[name]
            saving.save(
                image.source,
                path,
                label=image.type == LABEL,
                overwrite=overwrite,
                codec=codec,
                levels=levels,
                chunks=chunks,
                facts=call.facts,
                progress=progress,
            )
            call.note(path)
        call.require_undisturbed()

    # --- Geometry that the images share -----------------------------------------------------------

    @property
    def shape(self) -> Shape4:
        """Shape (C, W, H, D) of every image; StateError if they differ."""
        self.check_consistent_attribute("shape")
        return self.get_first_image().shape

    @property
    def spatial_shape(self) -> Shape3:
        """Shape (W, H, D) of every image; StateError if they differ."""
        self.check_consistent_spatial_shape()
        return self.get_first_image().spatial_shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between voxels of every image; StateError if they differ."""
        self.check_consistent_attribute("spacing")
        return self.get_first_image().spacing

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) matrix from voxel indices to RAS+ mm of every image; StateError if they differ."""
        self.check_consistent_affine()
        return self.get_first_image().affine

    @property
    def grid(self) -> Grid:
        """The grid on which all images lie; StateError if they do not lie on one."""
        self.check_consistent_space()
        return self.get_first_image().grid

    def same_grid(self, tolerance: float = SAME_GRID_TOLERANCE) -> bool:
        """Whether the voxels of all images are at the same places.

        Args:
            tolerance: Largest distance between corresponding voxels, in voxels.
        """
        return same_geometry.same_grid(self._images, tolerance)

    def check_consistent_space(self) -> None:
        """Raise StateError (``GRIDS_DIFFER``) unless `same_grid`."""
        same_geometry.require_same_grid(self._images)

    def check_consistent_spatial_shape(self) -> None:
        """Raise StateError unless all images have the same (W, H, D)."""
        self.check_consistent_attribute("spatial_shape")

    def check_consistent_orientation(self) -> None:
        """Raise StateError unless all images have the same orientation codes."""
        self.check_consistent_attribute("orientation")

    def check_consistent_affine(self) -> None:
        """Raise StateError unless all images have the same affine."""
        self.check_consistent_attribute("affine")

    def check_consistent_attribute(
        self, attribute: str, relative_tolerance: float = 1e-6, absolute_tolerance: float = 1e-6
    ) -> None:
        """Compare a property of all images.

        Args:
            attribute: Name of the property.
            relative_tolerance: Relative difference that is allowed, as ``rtol`` of
                ``numpy.allclose``.
            absolute_tolerance: Absolute difference that is allowed, as ``atol``.

        Raises:
            StateError: If it differs (code ``GRIDS_DIFFER``); also a RuntimeError.
        """
        same_geometry.require_same(self._images, attribute, relative_tolerance, absolute_tolerance)

    @property
    def _images(self) -> dict[str, Image]:
        return {name: value for name, value in self.items() if isinstance(value, Image)}

    @property
    def _facts(self) -> dict[str, Any]:
        return {name: value for name, value in self.items() if not isinstance(value, Image)}

    def _require_field_name(self, name: str) -> None:
        if hasattr(type(self), name):
            raise AttributeError(
                f"{name!r} is a member of {type(self).__name__}: use subject[{name!r}] for a field"
            )


register_collation(Subject)  # where subjects come to a process by other ways, such as to a worker
