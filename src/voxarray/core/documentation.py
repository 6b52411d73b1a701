"""Where the documentation stands; as in ``[project.urls]``, which a test compares."""

from __future__ import annotations

DOCUMENTATION = "https://voxarray.github.io/voxarray"


def about_code(code: str) -> str:
    """The place in the page of error codes that explains one.

    Examples:
        >>> about_code("BAD_CRC")
        'https://voxarray.github.io/voxarray/error-codes/#bad_crc'
    """
    return f"{DOCUMENTATION}/error-codes/#{code.lower()}"
