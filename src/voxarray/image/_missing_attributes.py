"""What an image says of an attribute that it does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


class MissingAttributesMixin:
    """The error of a missing attribute, with what to use instead of another library's name."""

    if not TYPE_CHECKING:  # a type checker would take every attribute for one that exists

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):
                # Python comes here, too, if a property raised: let it say why once more.
                return object.__getattribute__(self, name)
            from voxarray.core.names_elsewhere import IMAGE

            hint = f": {IMAGE[name]}" if name in IMAGE else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")
