"""A dict that cannot be written to behind its owner's back."""

from __future__ import annotations

from typing import Any

_MISSING = object()


class GuardedDict(dict[str, Any]):
    """A dict whose writes all go through `__setitem__`, and removals through `__delitem__`.

    In a plain subclass of dict ``update``, ``setdefault``, ``pop``, ``popitem``, ``clear`` and
    ``|=`` do neither. Reading is left to dict, which sees the storage and
    nothing else, so that iteration, ``items``, ``get``, ``dict(record)`` and ``{**record}`` agree.
    """

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # unlike |, which makes a dict
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        if key not in self:
            if default is _MISSING:
                raise KeyError(key)
            return default
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("popitem(): the record is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def clear(self) -> None:
        for key in list(self):
            del self[key]
