"""Making a result again from its history."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from voxarray import transforms
from voxarray.core.errors import StateError
from voxarray.core.history import Entry, History, numbers, opaque
from voxarray.core.keys import INTENSITY, LABEL, TYPE
from voxarray.image import Image, LabelMap, ScalarImage
from voxarray.subject import Subject
from voxarray.transforms.image_operation import METHODS, to_each
from voxarray.transforms.mask_history import difference
from voxarray.transforms.masking import SIDES
from voxarray.transforms.transform import Transform

Kind = TypeVar("Kind", bound=Image)

_OTHER_RELEASE = "Use the release of voxarray that recorded it, or apply the steps again in Python"


def replay(archive: Any, source: Any) -> Any:
    """Apply the history of an archive to its original image, lazily.

    The result has the same voxels as the archive.

    Examples:
        >>> scan = vx.testing.sample()
        >>> done = vx.convert(vx.Flip(0)(scan), "flipped.ome.zarr")
        >>> again = vx.replay("flipped.ome.zarr", scan)
        >>> bool((again.numpy() == vx.Flip(0)(scan).numpy()).all())
        True

    Args:
        archive: Path of the archive, or an image, whose history is applied.
        source: The original image, or its path. Steps that are already in its own history are not
            applied again. If a step used a mask from another image, pass the subject: all steps are
            then applied to all its images.

    Returns:
        An image of the class of ``source``; if ``source`` is a path, a `LabelMap` if the archive
        holds labels, else a `ScalarImage`; if it is a subject, a subject.

    Raises:
        StateError: ``CANNOT_REPLAY`` if an operation or its version is unknown, an argument could
            not be recorded, or a mask is missing or has another history than the mask that was
            used. The message says which of these it is.
    """
    result = archive if isinstance(archive, Image) else ScalarImage(archive)
    if not isinstance(source, (Image, Subject)):
        source = _opened(source, result)
    applied = source.history if isinstance(source, Image) else ()
    rest = _rest(result.history, applied)
    steps = [_step(entry) for entry in rest]
    for step, kind in zip(steps, _kinds(rest), strict=True):
        source = _as_kind(kind, step, source)
    return source


def _kinds(entries: History) -> list[str | None]:
    """For each step, the kind that the image had then: that of the archive which was made next."""
    kinds: list[str | None] = []
    kind = None
    for item in reversed(entries):
        if item.get("operation") == "convert":
            kind = item.get("arguments", {}).get("kind")
        kinds.append(kind)
    return kinds[::-1]


def _as_kind(kind: str | None, step: Callable[[Any], Any], data: Any) -> Any:
    """A step on an image of the kind that it had then; the result is of the class of the image.

    An archive may be opened as a `ScalarImage` first and as a `LabelMap` later: the first is
    interpolated, the second is not.
    """
    image_class = {INTENSITY: ScalarImage, LABEL: LabelMap}.get(kind or "")
    if image_class is None or not isinstance(data, Image) or isinstance(data, image_class):
        return step(data)
    result = step(_of_class(data, image_class, image_class.fixed_type))
    return _of_class(result, type(data), data.type)


def _of_class(image: Image, image_class: type[Kind], kind: str | None) -> Kind:
    """The same image as one of another class, with another type."""
    result = image_class.__new__(image_class)
    dict.update(result, {**dict(image), TYPE: kind})
    result.__dict__.update(image.__dict__)
    return result


def _opened(path: str | os.PathLike[str], result: Image) -> Image:
    kind = getattr(getattr(result.source.base, "image", None), "kind", None)
    return (LabelMap if kind == "label" or isinstance(result, LabelMap) else ScalarImage)(path)


def _rest(done: History, applied: History) -> History:
    """What was done after what is in the source's history already."""
    common = len(applied)
    return done[common:] if done[:common] == applied else done


def _step(entry: Entry) -> Callable[[Any], Any]:
    """What an entry did, as a function.

    Raises:
        StateError: ``CANNOT_REPLAY``.
    """
    name, arguments, version = _facts(entry)
    unknown = opaque(arguments)
    if unknown is not None:
        raise _refusal(
            f"{name} was given {unknown}, which a history cannot hold. Apply the steps again in "
            "Python"
        )
    if name == "convert":  # whose version is the package's in archives of voxarray 0.1
        return lambda data: data
    if name in METHODS:
        _require_version(name, version, 1)
        return lambda data: _each(data, name, arguments)
    transform = getattr(transforms, name, None) if name in transforms.__all__ else None
    if not (isinstance(transform, type) and issubclass(transform, Transform)):
        raise _refusal(
            f"this voxarray has no operation {name!r}. If it is a class of your own, replay cannot "
            "make it: apply the class itself. Otherwise update voxarray, or apply the steps again "
            "in Python"
        )
    _require_version(name, version, transform.version)
    try:
        instance = transform(**arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise _refusal(f"{name} does not take {arguments} ({error}). {_OTHER_RELEASE}") from error
    return lambda data: _applied(instance, data, entry)


def _applied(transform: Transform, data: Any, entry: Entry) -> Any:
    mask = transform.arguments.get("masking_method")
    if isinstance(mask, str) and mask.capitalize() not in SIDES:
        if not isinstance(data, Subject) or mask not in data:
            raise _refusal(
                f"{transform.name} used the label map {mask!r} of the subject: give the subject "
                "that has it instead of a single image"
            )
        differs = difference(entry, data[mask].history)
        if differs is not None:
            raise _refusal(
                f"{transform.name} was recorded with a mask {mask!r} that {differs}. Give the mask "
                "in the state that it had before the pipeline. If the pipeline itself changed the "
                "mask, apply the original pipeline again instead: pipeline.yaml, or a Compose of "
                "the same steps"
            )
    return transform(data)


def _each(data: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
    """An image changed, or a subject with all its images changed."""
    if isinstance(data, Image):
        return METHODS[operation](data, **arguments)
    result = copy.copy(data)
    result.update(to_each(data.get_images_dict(intensity_only=False), operation, arguments))
    return result


def _facts(entry: Mapping[str, Any]) -> tuple[str, dict[str, Any], Any]:
    try:
        return str(entry["operation"]), dict(numbers(entry.get("arguments", {}))), entry["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise _refusal(
            f"the history holds {entry!r}, which is not an operation: another program changed it. "
            "Apply the steps again in Python"
        ) from error


def _require_version(name: str, version: Any, supported: int) -> None:
    if version != supported:
        raise _refusal(
            f"{name} was of version {version}, and this voxarray has version {supported}. "
            f"{_OTHER_RELEASE}"
        )


def _refusal(reason: str) -> StateError:
    return StateError(f"this history cannot be replayed: {reason}", code="CANNOT_REPLAY")
