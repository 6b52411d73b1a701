"""Several transforms as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from voxarray.core.function_arguments import require_transform
from voxarray.core.given_paths import path_text
from voxarray.core.html_table import html_table
from voxarray.subject import Subject
from voxarray.transforms.transform import Transform, snapshot


class Compose(Transform):
    """Apply transforms one after another.

    Examples:
        >>> scan = vx.testing.sample()
        >>> prepare = vx.Compose([vx.ToCanonical(), vx.Resample(4), vx.CropOrPad(24)])
        >>> prepare(scan).shape
        (1, 24, 24, 24)

    Args:
        transforms: Transforms, or other functions of a subject, in order. The keys of a dict are
            names of the transforms: ``compose["name"]``.
        **kwargs: ``include``, ``exclude``, ``keep``, ``label_keys`` and ``copy`` of `Transform`.

    Raises:
        TypeError: If they are no list or dict, one of them cannot be called, is a class or a
            transform of TorchIO, or if a name is not text.
    """

    def __init__(
        self,
        transforms: Sequence[Callable[[Any], Any]] | Mapping[str, Callable[[Any], Any]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(transforms, str) or not isinstance(transforms, Iterable):
            raise TypeError(
                "the transforms are a list or a dict, such as [vx.ToCanonical()], "
                f"not {transforms!r}"
            )
        by_name = transforms if isinstance(transforms, Mapping) else None
        self._names = {} if by_name is None else {key: n for n, key in enumerate(by_name)}
        self.transforms: list[Callable[[Any], Any]] = list(
            transforms.values() if isinstance(transforms, Mapping) else transforms
        )
        for key in self._names:
            if not isinstance(key, str):
                raise TypeError(f"transforms are named by text, not by {key!r}")
        for transform in self.transforms:
            require_transform(transform)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Compose:
        """The pipeline in a file, as written by `to_yaml`.

        The file is a list of operations: the name of a transform, and its arguments by name:

            - operation: ToCanonical
            - operation: Resample
              arguments: {target: 1.0, image_interpolation: linear}
            - operation: ZNormalization
              arguments: {masking_method: brain}

        The output of ``voxarray history`` can be read, too. It holds the steps that changed one
        scan: `CropOrPad`, for example, is there as the `Crop` or `Pad` that this scan needed. For
        other scans, use the original pipeline.

        The file is read as data, never run: tags and references of YAML are refused, and unknown
        names are an error.

        Args:
            path: Path of the file.

        Raises:
            MissingFileError: There is no such file.
            FormatError: If it is not a pipeline (``BAD_PIPELINE``), or names an unknown transform
                (``UNKNOWN_TRANSFORM``), arguments that a transform does not take
                (``BAD_ARGUMENT``), or another version of a transform (``OTHER_VERSION``).

        Warns:
            VoxarrayWarning: It is the history of one scan (``HISTORY_OF_ONE_SCAN``).
        """
        from voxarray.transforms.pipeline_file import read_pipeline

        return cls(read_pipeline(path))

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The pipeline as a text that `from_yaml` reads, for ``voxarray preprocess``.

        Examples:
            >>> import voxarray as vx
            >>> print(vx.Compose([vx.ToCanonical(), vx.Pad(2)]).to_yaml())  # doctest: +ELLIPSIS
            - operation: ToCanonical
              arguments: {}
            ...

        Args:
            path: File to write the text to, too; an existing file is replaced.

        Returns:
            The text. Names of transforms in a dict are not in it.

        Raises:
            FormatError: If a transform is a function, or has one as an argument
                (``NOT_IN_A_FILE``).
            ArchiveError: If writing fails.
        """
        from voxarray.storage.remote.address import as_local
        from voxarray.storage.small_files import write_if_other
        from voxarray.transforms.pipeline_file import entries_of, to_text

        text = to_text(entries_of([self]))
        if path is not None:
            write_if_other(as_local(path_text(path)), text.encode())
        return text

    def apply_transform(self, subject: Subject) -> Subject:
        images = subject.get_images_dict(intensity_only=False)
        changing = self.get_images(subject)
        left_alone = {n: snapshot(image) for n, image in images.items() if n not in changing}
        for transform in self.transforms:
            # What is a transform but is called in a way of its own is any other function.
            if isinstance(transform, Transform) and type(transform).__call__ is Transform.__call__:
                subject = transform._applied(subject, detach=False)
            else:
                subject = transform(subject)
        for name, image in left_alone.items():
            subject[name] = image
        return subject

    def __len__(self) -> int:
        return len(self.transforms)

    def __getitem__(self, index: int | str) -> Any:
        """A transform by its place or its name.

        Raises:
            KeyError: If there is no such name.
            TypeError: For a name, if the transforms were given as a sequence.
        """
        if isinstance(index, str):
            if not self._names:
                raise TypeError("these transforms have no names: use a number, or give a dict")
            return self.transforms[self._names[index]]
        return self.transforms[index]

    def _repr_html_(self) -> str:
        """A table of the steps, in their order, for notebooks."""
        steps = {str(number): repr(step) for number, step in enumerate(self.transforms, 1)}
        return html_table(self.name, steps)

    def __repr__(self) -> str:
        return f"{self.name}({self.transforms})"
