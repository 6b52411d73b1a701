"""Pipelines as YAML: a list of operations in the form in which archives keep their history.

A file names transforms of `voxarray.transforms` and what histories name besides (``slice``,
``level``, ``set_affine``); it is data, and nothing in it can run code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voxarray import transforms
from voxarray.core.caller_warnings import warn_by_code
from voxarray.core.errors import (
    FormatError,
    MissingFileError,
    UnsupportedError,
    VoxarrayError,
)
from voxarray.core.given_paths import path_text
from voxarray.core.history import Entry, entry, numbers, opaque, plain
from voxarray.core.safe_yaml import MOST_BYTES, YamlError, dumps, loads
from voxarray.core.torchio_names import INSTEAD
from voxarray.storage.remote.address import as_local
from voxarray.storage.small_files import open_file
from voxarray.transforms import transform as bases
from voxarray.transforms.argument_types import misfit
from voxarray.transforms.image_operation import METHODS, ImageOperation
from voxarray.transforms.transform import Transform

PREDICTING = "infer"
"""The step of the history of what a model predicted."""

_KEYS = {"operation", "arguments", "version", "voxarray", "mask"}
_NO_OPERATIONS = (
    *(bases.Transform, bases.SpatialTransform, bases.IntensityTransform, bases.LabelTransform),
    transforms.NormalizationTransform,
    transforms.Lambda,  # takes a function
)
_DEEPEST = 20
"""Pipelines in pipelines."""

_Refusal = Callable[[str, str], FormatError]
"""Makes an error of a code and of what was seen, which says where."""


def read_pipeline(path: str | os.PathLike[str]) -> list[Transform]:
    """The transforms that a file names, in order.

    Raises:
        MissingFileError: There is no such file.
        AccessDeniedError, TransportError: The disk or the store refuses to give it.
        FormatError: If it is not a pipeline (``BAD_PIPELINE``), or names an unknown transform
            (``UNKNOWN_TRANSFORM``), arguments that a transform does not take (``BAD_ARGUMENT``), or
            another version of a transform (``OTHER_VERSION``).

    Warns:
        VoxarrayWarning: It is the history of one scan (``HISTORY_OF_ONE_SCAN``).
    """
    name = as_local(path_text(path))
    try:
        with open_file(name) as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode()
    except FileNotFoundError:
        raise MissingFileError(f"there is no pipeline {name}", path=name) from None
    except UnsupportedError as error:
        raise FormatError(
            f"{name} cannot be read: {error.message}", code="BAD_PIPELINE", path=name
        ) from error
    except UnicodeDecodeError:
        raise FormatError(
            f"{name} is not a pipeline: expected text in UTF-8; save it as such",
            code="BAD_PIPELINE",
            path=name,
        ) from None
    entries = _entries(text, name)
    steps = _steps(entries, name, "operation", 0)
    _remark_history(entries, name)
    return steps


def parsed(text: str, name: str) -> list[Transform]:
    """The transforms that a text names; arguments and errors as of `read_pipeline`."""
    return _steps(_entries(text, name), name, "operation", 0)


def _entries(text: str, name: str) -> Any:
    try:
        return loads(text)
    except YamlError as error:
        raise FormatError(
            f"{name} is not a pipeline: {error}. Correct the file: it is a list of operations, "
            "such as '- operation: ToCanonical'",
            code="BAD_PIPELINE",
            path=name,
        ) from None


def _remark_history(entries: list[Any], name: str) -> None:
    """Say that a file tells what was done to one scan, which is no recipe for others.

    Only histories have a step ``convert``. Whoever removes it has seen what it is.
    """
    if any(item.get("operation") == "convert" for item in entries):
        warn_by_code(
            "HISTORY_OF_ONE_SCAN",
            f"{name} is the history of one scan (it has the step 'convert'), and says what was "
            "done to that scan: a step that changed nothing is not in it, and instead of CropOrPad "
            "it names the Crop or Pad that the scan needed. Other scans may need other steps: use "
            "the pipeline as it was given, which preprocess keeps as pipeline.yaml in the folder "
            "of its cohort. The other steps of the file are applied now. Remove 'convert' from it "
            "to silence this warning",
        )


def _steps(entries: Any, name: str, location: str, depth: int) -> list[Transform]:
    if not isinstance(entries, list) or depth > _DEEPEST:
        raise FormatError(
            f"{name} is not a pipeline: expected a list of operations, such as "
            "'- operation: ToCanonical'",
            code="BAD_PIPELINE",
            path=name,
        )
    steps = [_step(item, name, f"{location} {n}", depth) for n, item in enumerate(entries, 1)]
    return [item for item in steps if item is not None]


def _step(item: Any, name: str, location: str, depth: int) -> Transform | None:
    """What an entry names; None for the conversion that histories begin with, which does nothing.

    Raises:
        FormatError: As `read_pipeline`.
    """

    def refuse(code: str, reason: str) -> FormatError:
        return FormatError(f"{location} of {name}: {reason}", code=code, path=name)

    operation, arguments = _read(item, refuse)
    if operation == "convert":
        return None
    if operation == PREDICTING:
        raise refuse(
            "UNKNOWN_TRANSFORM",
            f"{operation!r} is no transform: a model predicted the image, and its history says "
            "which model and how; to predict again, use voxarray infer (vx.infer) with the model",
        )
    kind = _transform_named(operation)
    if kind is None and operation not in METHODS:
        instead = INSTEAD.get(operation)
        told = f"instead: {instead}" if instead else f"known are {', '.join(_known_names())}"
        raise refuse("UNKNOWN_TRANSFORM", f"{operation!r} is not a transform; {told}")
    _require_version(item, 1 if kind is None else kind.version, refuse)
    if kind is transforms.Compose and isinstance(arguments.get("transforms"), list):
        inner = _steps(arguments["transforms"], name, f"{location}, operation", depth + 1)
        arguments = {**arguments, "transforms": inner}
    else:
        wrong = None if kind is None else misfit(kind, arguments)
        if wrong is not None:
            raise refuse("BAD_ARGUMENT", f"{operation}: {wrong}")
    make: Callable[..., Transform] = kind or _image_operation(operation)
    try:
        return make(**arguments)
    except VoxarrayError as error:
        raise refuse("BAD_ARGUMENT", f"{operation}: {error.message}") from error
    except (TypeError, ValueError, KeyError, AttributeError, OSError, OverflowError) as error:
        raise refuse(
            "BAD_ARGUMENT", f"{operation} does not take these arguments ({error}): correct them"
        ) from error


def _read(item: Any, refuse: _Refusal) -> tuple[str, dict[str, Any]]:
    """Name and arguments of an entry, which has no other keys than histories have."""
    if not isinstance(item, dict) or not isinstance(item.get("operation"), str):
        raise refuse(
            "BAD_PIPELINE",
            f"expected 'operation: NAME', such as 'operation: ToCanonical', not {_short(item)}",
        )
    unknown = [key for key in item if key not in _KEYS]
    if unknown:
        expected = ", ".join(sorted(_KEYS))
        raise refuse(
            "BAD_PIPELINE", f"the key {unknown[0]!r} is not one of {expected}: correct or remove it"
        )
    operation, arguments = item["operation"], item.get("arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise refuse(
            "BAD_PIPELINE",
            "arguments are a mapping by name, such as 'arguments: {target: 2}', not "
            f"{_short(arguments)}",
        )
    missing = opaque(arguments)
    if missing is not None:
        raise refuse(
            "BAD_ARGUMENT",
            f"{operation} was given {missing}, which a pipeline file cannot hold: expected "
            "numbers, texts, and lists or dicts of these",
        )
    return operation, {key: _without_pairs(numbers(value)) for key, value in arguments.items()}


def _require_version(item: Mapping[str, Any], supported: int, refuse: _Refusal) -> None:
    version = item.get("version")
    if version is not None and (version != supported or isinstance(version, bool)):
        raise refuse(
            "OTHER_VERSION",
            f"{item['operation']} of version {version!r} is requested, but this voxarray has "
            f"version {supported}: install the voxarray that wrote the file, or write the step "
            "for this version",
        )


def _image_operation(operation: str) -> Callable[..., ImageOperation]:
    return lambda **arguments: ImageOperation(operation, arguments)


def _transform_named(name: str) -> type[Transform] | None:
    """A public transform that data alone can make."""
    transform = getattr(transforms, name, None) if name in transforms.__all__ else None
    if not (isinstance(transform, type) and issubclass(transform, Transform)):
        return None
    return None if transform in _NO_OPERATIONS else transform


def _known_names() -> list[str]:
    names = [name for name in transforms.__all__ if _transform_named(name)]
    return [*sorted(names), *sorted(METHODS)]


def _without_pairs(value: Any) -> Any:
    """A mapping of numbers, which JSON has as a list of pairs."""
    if not isinstance(value, dict) or set(value) != {"pairs"}:
        return value
    pairs = value["pairs"]
    if not isinstance(pairs, list) or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        return value
    return {key: item for key, item in pairs if isinstance(key, (int, float, str))}


# --- Writing --------------------------------------------------------------------------------------


def entries_of(steps: Sequence[Callable[[Any], Any]]) -> list[Entry]:
    """Transforms as entries of a pipeline.

    Raises:
        FormatError: One of them is a function, or was given one (``NOT_IN_A_FILE``).
    """
    entries: list[Entry] = []
    for step in steps:
        kind = type(step)
        if isinstance(step, ImageOperation):
            entries.append(entry(step.operation, step.parameters, step.version))
        elif not isinstance(step, Transform) or _transform_named(kind.__name__) is not kind:
            raise FormatError(
                f"{step!r} is not a transform of voxarray.transforms, so a file cannot name it: "
                f"leave it out of the file, and apply it in Python{_instead(step)}",
                code="NOT_IN_A_FILE",
            )
        elif isinstance(step, transforms.Compose):
            entries += _entries_of_compose(step)
        else:
            entries.append(_as_entry(step, {**step.arguments, **_shared(step)}))
    return entries


def _entries_of_compose(step: transforms.Compose) -> list[Entry]:
    inner, shared = entries_of(step.transforms), _shared(step)
    if not shared:
        return inner
    return [
        {**entry("Compose", shared, step.version), "arguments": {"transforms": inner, **shared}}
    ]


def _shared(step: Transform) -> dict[str, Any]:
    """Those arguments that all transforms have and that do something."""
    arguments = {**step.shared_arguments, "keep": step.keep}
    return {name: plain(value) for name, value in arguments.items() if value is not None}


def _as_entry(step: Transform, arguments: Mapping[str, Any]) -> Entry:
    result = entry(step.name, arguments, step.version)
    unknown = opaque(result["arguments"])
    if unknown is not None:
        raise FormatError(
            f"{step.name} was given {unknown}, which a pipeline file cannot hold: expected "
            "numbers, texts, and lists or dicts of these",
            code="NOT_IN_A_FILE",
        )
    return result


def _instead(step: Any) -> str:
    """End of the message about a `Lambda`, for which there may be a transform that files hold."""
    if not isinstance(step, transforms.Lambda):
        return ""
    return (
        '. If the function only converts the type, as x.astype("float32") does, use '
        'vx.To("float32")'
    )


def to_text(entries: Sequence[Entry]) -> str:
    """Entries of a pipeline, or of an archive's history, as YAML."""
    return dumps([dict(item) for item in entries])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."
