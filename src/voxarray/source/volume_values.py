"""Metadata that have a value for each volume, and follow a choice of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class VolumeValues(tuple[Any, ...]):
    """A tuple of one value per volume, which no other tuple, such as a direction, is taken for."""

    __slots__ = ()

    def chosen(self, channels: range, count: int) -> Any:
        """One value where all chosen channels have the same, else a tuple of these.

        Args:
            channels: Which are chosen.
            count: How many there are; a volume of colours has several.
        """
        each = count // len(self)
        volumes = dict.fromkeys(channel // each for channel in channels)
        values = VolumeValues(self[volume] for volume in volumes)
        return values[0] if len(set(values)) == 1 else values


def chosen_metadata(metadata: Mapping[str, Any], channels: range, count: int) -> Mapping[str, Any]:
    """Metadata of some of ``count`` channels."""
    if channels == range(count) or not any(isinstance(v, VolumeValues) for v in metadata.values()):
        return metadata
    chosen = {
        key: value.chosen(channels, count) if isinstance(value, VolumeValues) else value
        for key, value in metadata.items()
    }
    # A volume without b-value has no direction, and metadata of it alone would not name any.
    return {key: value for key, value in chosen.items() if value is not None}
