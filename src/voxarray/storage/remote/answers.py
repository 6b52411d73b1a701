"""What a server answered to a request that failed, as far as everybody may see it."""

from __future__ import annotations

import re
from dataclasses import dataclass

# After it comes what the server says, before it names of users: neither is to be taken for it.
_ANSWER = re.compile(
    r"Error performing (?P<request>[A-Z]+ \S+) in [^ ]+ - "
    r"Server returned non-2xx status code: (?P<status>\d{3} ?[^:\n]*)(?:: ?(?P<body>.*))?",
    re.DOTALL,
)
_DEBUGGING = "\n\nDebug source:"
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<\n]*)")

_DENIED_STATUS = ("401", "403")
_DENIED_CODES = (
    *("AccessDenied", "ExpiredToken", "InvalidAccessKeyId"),
    *("InvalidToken", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"),
    "TokenRefreshRequired",
)
"""Codes of S3, some of which come with the status 400."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that an error of obstore tells of.

    Attributes:
        status: Three digits; empty if no answer came.
        code: The store's own name for what is wrong; empty if it says none.
        text: Request, status and reason. Answers may repeat tokens and signatures of the request:
            of an answer in XML only code and message are shown, and of a request whose URL may hold
            secrets nothing else.
    """

    status: str = ""
    code: str = ""
    text: str = ""

    @classmethod
    def of(cls, error: Exception) -> Answer:
        """What an error tells, whatever kind of error it is."""
        found = _ANSWER.search(str(error).partition(_DEBUGGING)[0])
        if found is None:
            return cls()
        body = (found["body"] or "").strip()
        code, message = _CODE.search(body), _MESSAGE.search(body)
        says = [one[1].strip() for one in (code, message) if one is not None]
        is_secret = "?" in found["request"] or "@" in found["request"]
        if not says and body and not body.startswith("<") and not is_secret:
            says = body.splitlines()[:1]
        parts = [
            found["request"].partition("?")[0][:200],
            found["status"].strip(),
            ": ".join(says)[:300],
        ]
        return cls(found["status"][:3], code[1] if code else "", ": ".join(filter(None, parts)))

    @property
    def denies(self) -> bool:
        """Whether the server wants other credentials."""
        return self.status in _DENIED_STATUS or self.code in _DENIED_CODES
