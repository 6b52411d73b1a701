"""What a network's classes mark: their number, the labels that they become, names and colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxarray.archive.metadata import Label
from voxarray.core.errors import ModelError, UnsupportedError
from voxarray.core.label_colours import rgba_of


@dataclass(frozen=True)
class Classes:
    """The classes, as far as anybody has said.

    Attributes:
        count: How many; None if nobody knows.
        values: Label of each; None for their numbers.
        table: Names and colours of labels.
    """

    count: int | None = None
    values: tuple[int, ...] | None = None
    table: tuple[Label, ...] = ()

    @classmethod
    def of(cls, requested: Any, model_names: Mapping[int, str]) -> Classes:
        """Classes as a user gives them, or as a model knows them.

        Args:
            requested: How many; names of all, in order; or the label of each, in order, with its
                name or with its name and colour (RGB or RGBA, 0 to 255, or ``"#rrggbb"``).
            model_names: Names by label, in order.

        Raises:
            ValueError: For anything else.
            UnsupportedError: If two have the same name (``CLASSES_REPEATED``).
            ModelError: If the model knows of another number of classes (``CLASSES_CHANGED``).
        """
        if requested is None:
            requested = dict(model_names) or None
        if requested is None:
            return cls()
        if isinstance(requested, (int, np.integer)) and not isinstance(requested, bool):
            if requested < 1:
                raise ValueError(f"classes must be at least 1, not {requested}")
            return cls(int(requested), None, tuple(Label(v, n) for v, n in model_names.items()))
        if (
            not requested
            or isinstance(requested, str)
            or not isinstance(requested, (Mapping, Sequence))
        ):
            raise ValueError(
                f"classes must be a number, names, or names by label, not {requested!r}"
            )
        # One class alone is what is not background.
        first = 0 if len(requested) > 1 else 1
        rows = requested if isinstance(requested, Mapping) else dict(enumerate(requested, first))
        table = tuple(_label(value, name) for value, name in rows.items())
        if model_names and len(model_names) != len(table):
            raise ModelError(
                f"the number of classes that classes= names is {len(table)}, but the model has "
                f"{len(model_names)}: {dict(model_names)}; name each of these, or leave classes= "
                "out",
                code="CLASSES_CHANGED",
            )
        names = [label.name for label in table]
        if len(set(names)) < len(names):
            raise UnsupportedError(
                f"classes have the same name: {names}; names must differ, so pass classes= with a "
                "name of its own for each class",
                code="CLASSES_REPEATED",
            )
        values = tuple(label.value for label in table)
        if values == (0,):
            raise ValueError(
                "classes: a single class needs a label above 0, since 0 is the background"
            )
        same = values == tuple(range(len(values)))
        return cls(len(table), None if same else values, table)


def _label(value: Any, name: Any) -> Label:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or not 0 <= value < 1 << 16:
        raise ValueError(f"classes: a label is a whole number from 0 to 65535, not {value!r}")
    value = int(value)
    if isinstance(name, str):
        return Label(value, name)
    try:
        text, colour = name
    except (TypeError, ValueError):
        text, colour = None, None
    rgba = rgba_of(colour)
    if not isinstance(text, str) or rgba is None:
        raise ValueError(
            f"classes: {name!r} is neither a name nor a name with its colour: write 'core', "
            "('core', (255, 136, 0)) or ('core', '#ff8800')"
        )
    return Label(value, text, rgba)
