"""Which archive of a mapped cohort each label map goes into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from voxarray.cohort.mapped_sources import MappedSources
from voxarray.cohort.plan.opened_inputs import divided
from voxarray.image import Image, LabelMap
from voxarray.subject import Subject


def archives_of(subject: Subject, sources: MappedSources) -> Iterator[tuple[str, list[str]]]:
    """Images that get an archive, each with its label maps.

    Args:
        subject: The subject after the transform.
        sources: The same subject before it.
    """
    images = subject.get_images_dict(intensity_only=False)
    layers: dict[str, list[str]] = {
        name: [] for name, image in images.items() if not isinstance(image, LabelMap)
    }
    for name, image in images.items():
        if isinstance(image, LabelMap):
            near = [scan for scan in layers if images[scan].grid.isclose(image.grid)]
            if near:
                layers[_home(name, near, images, sources)].append(name)
            else:
                yield name, []
    yield from layers.items()


def _home(
    label: str, near: Sequence[str], images: Mapping[str, Image], sources: MappedSources
) -> str:
    """The image with which a label map is archived: the one that it was with before, or the first.

    If it depended on which images are saved, saving a part of them into the same folder later would
    store the label map twice, and the subject could not be opened.

    Args:
        label: Its name.
        near: Names of the images on its grid, in the order of the subject.
        images: All images by name.
        sources: What they were made from.
    """
    if len(near) == 1:
        return near[0]
    archive, layer = divided(sources.origin(label, images[label]).source)
    if not layer:  # it had an archive of its own, or is new
        return near[0]
    by_name = sources.by_name
    named = (scan for scan in near if scan in by_name and by_name[scan].source == archive)
    made = (scan for scan in near if sources.origin(scan, images[scan]).source == archive)
    return next(named, None) or next(made, near[0])
