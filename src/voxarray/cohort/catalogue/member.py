"""One subject of a cohort: which archives it consists of, and the lazy images in them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from voxarray.archive.metadata import Kind
from voxarray.core.errors import StateError
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.subject import Subject


@dataclass(frozen=True, slots=True)
class Part:
    """One archive of a subject.

    Attributes:
        archive: Its path below the folder of the cohort.
        image: Name of its image.
        kind: Whether that is a label map.
        labels: Names of the label maps in it.
    """

    archive: str
    image: str
    kind: Kind
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A subject on disk; small, and can be pickled.

    Attributes:
        root: Folder of the cohort.
        name: Of the subject.
        parts: Its archives.
    """

    root: str
    name: str
    parts: tuple[Part, ...]

    def subject(self) -> Subject:
        """Its images by name, and its own name as ``subject``; nothing is read.

        Raises:
            StateError: If two images have one name (``NAME_COLLISION``).
        """
        images: dict[str, Image] = {}
        for part in self.parts:
            path = os.path.join(self.root, part.archive)
            kind = LabelMap if part.kind == "label" else ScalarImage
            self._add(images, part.image, kind(path, verify_path=False))
            for label in part.labels:
                layer = LabelMap(os.path.join(path, "labels", label), verify_path=False)
                self._add(images, label, layer)
        return Subject({"subject": self.name, **images})

    def _add(self, images: dict[str, Image], name: str, image: Image) -> None:
        if name in images:
            raise StateError(
                f"two images of the subject {self.name!r} are called {name!r}: choose one with "
                "query()",
                code="NAME_COLLISION",
            )
        images[name] = image
