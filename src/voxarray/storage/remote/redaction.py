"""What an error of a transport says, without the secrets that it may repeat."""

from __future__ import annotations

import re

from voxarray.storage.remote.answers import Answer

# Queries of signed URLs, and passwords before the host.
_SECRETS = (re.compile(r"\?[^\s\"')\]]*"), re.compile(r"(?<=://)[^/\s@]*@"))


def without_secrets(error: Exception) -> str:
    """What an error says, in one line, fit to be shown and logged."""
    answer = Answer.of(error).text
    text = answer or (str(error).strip() or type(error).__name__).splitlines()[0]
    for secret in _SECRETS:
        text = secret.sub("", text)
    return text if answer else text[:300]
