"""One subject of a cohort: which archives it consists of, and the lazy images in them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from voxarray.archive.metadata import Kind
from voxarray.cohort.discover.input import SUBJECT_KEY
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
            StateError: If two images have one name (``NAME_COLLISION``), or one the name that is
                reserved for that of the subject (``RESERVED_NAME``).
        """
        images: dict[str, Image] = {}
        places: dict[str, str] = {}
        for part in self.parts:
            path = os.path.join(self.root, part.archive)
            kind = LabelMap if part.kind == "label" else ScalarImage
            self._claim(places, part.image, part.archive, part)
            images[part.image] = kind(path, verify_path=False)
            for label in part.labels:
                self._claim(places, label, f"{part.archive}/labels/{label}", part)
                layer = os.path.join(path, "labels", label)
                images[label] = LabelMap(layer, verify_path=False)
        return Subject({SUBJECT_KEY: self.name, **images})

    def _claim(self, paths: dict[str, str], name: str, path: str, part: Part) -> None:
        """Note where the image of a name lies, unless another has the name."""
        if name == SUBJECT_KEY:
            raise StateError(
                f"{path} is called {name!r}. That name is reserved: subject[{name!r}] is the name "
                f"of the subject, here {self.name!r}. Convert again with another name for it; if "
                "it is a label map, remove it (voxarray remove-labels); or choose other images "
                "with query()",
                code="RESERVED_NAME",
            )
        if name in paths:
            such = f', such as query("image == {part.image!r}")' if name != part.image else ""
            raise StateError(
                f"two images of the subject {self.name!r} are called {name!r}, {paths[name]} and "
                f"{path}: choose one with query(){such}, or remove one (a label map with voxarray "
                "remove-labels)",
                code="NAME_COLLISION",
            )
        paths[name] = path
