"""URLs, taken apart: where a store begins, what is in it, and what may be shown of it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from voxarray.core.errors import UnsupportedError
from voxarray.core.given_paths import path_text

WEB = ("http", "https")

OBJECT_STORES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")

# ``::`` is also part of names, queries and IPv6 hosts: it chains only what has a scheme behind it.
_CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9_+-]*(?:://|::))")

# Parameters that say who may read an object, and until when; never which object it is.
_SIGNING = re.compile(
    r"(?i)x-(?:amz|goog)-(?:algorithm|credential|date|expires|signedheaders|signature"
    r"|security-token)$"
)


_SECRET = re.compile(r"(?i)(sig|signature|token|secret|passw(or)?d|pwd|credential|auth|key)")
"""In names of parameters of queries whose values open what others may not."""


def is_url(text: object) -> bool:
    """Whether a path is a URL."""
    return isinstance(text, str) and "://" in text


def carries_secret(text: str) -> bool:
    """Whether a text is a URL with a password, a token or a signature in it."""
    if not is_url(text):
        return False
    names = [field.partition("=")[0] for field in re.split("[?&]", text)[1:]]
    password = re.search(r"://[^/\s@?]*:[^/\s@?]*@", text)
    return password is not None or any(map(_SECRET.search, names))


def as_local(text: str) -> str:
    """A ``file://`` URL as the path that it is; any other text as it is.

    Raises:
        UnsupportedError: It names another machine (``BAD_URL``), or no file can have such a name
            (``BAD_PATH``).
    """
    if text[:7].lower() != "file://":
        return text
    host, _, path = text[7:].partition("/")
    if host.lower() not in ("", "localhost"):
        raise UnsupportedError(
            f"{text} is a file of the machine {host!r}: mount its disk here, and give the local "
            "path",
            code="BAD_URL",
            path=text,
        )
    return path_text(unquote(f"/{path}"))


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a store.

    Attributes:
        base: The store: scheme and bucket, container or host.
        path: Place in the store, without slashes at its ends; not percent-encoded.
        tail: A query, with its question mark, or what an fsspec URL chains behind ``::``.
    """

    base: str
    path: str
    tail: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """The address of a URL.

        Raises:
            UnsupportedError: It is none (``BAD_URL``).
        """
        scheme, _, location = url.partition("://")
        if scheme.lower() in WEB:
            try:
                parts = urlsplit(url)
                _ = parts.port
            except ValueError as error:  # brackets of IPv6, or a port that is no number
                raise UnsupportedError(
                    f"{_without_secrets(url)} is not a URL ({error})", code="BAD_URL"
                ) from None
            query = f"?{parts.query}" if parts.query else ""
            return cls(f"{scheme}://{parts.netloc}", unquote(parts.path).strip("/"), query)
        chain = None if scheme.lower() in OBJECT_STORES else _CHAIN.search(url)
        if chain is None:
            host, _, location = location.partition("/")
            return cls(f"{scheme}://{host}", location.strip("/"))
        first, rest = url[: chain.start()], url[chain.end() :]
        if "://" not in first:  # simplecache::s3://bucket/a.nii
            inner = cls.parse(rest)
            return replace(inner, base=f"{first}::{inner.base}")
        scheme, _, location = first.partition("://")
        return cls(f"{scheme}://", location.strip("/"), f"::{rest}")

    @property
    def scheme(self) -> str:
        """Such as ``s3``, in lower case."""
        return self.base.partition("://")[0].lower()

    @property
    def is_chained(self) -> bool:
        """Whether fsspec reads it through several file systems, one in another."""
        return "::" in self.scheme or self.tail.startswith("::")

    @property
    def url(self) -> str:
        """All of it, as it is requested."""
        path = quote(self.path, safe="/!$&'()*+,;=:@~") if self._is_web else self.path
        return f"{self.base}{'' if self.base.endswith('/') else '/'}{path}{self.tail}"

    @property
    def shown(self) -> str:
        """For people: without query and password, which may be secrets."""
        scheme, _, host = self.base.partition("://")
        user, _, rest = host.rpartition("@")
        host = rest if self._is_web or ":" in user else host
        tail = "::" + Address.parse(self.tail[2:]).shown if self.tail.startswith("::") else ""
        return f"{scheme}://{host}{'/' if host else ''}{self.path}{tail}"

    @property
    def without_user(self) -> Address:
        """The same place of a web server without user name and password; others as they are."""
        scheme, _, host = self.base.partition("://")
        is_plain = scheme.lower() in WEB and "@" in host
        return replace(self, base=f"{scheme}://{host.rpartition('@')[2]}") if is_plain else self

    @property
    def basic_authorization(self) -> str:
        """What HTTP's header ``Authorization`` says of the user name and the password."""
        import base64

        user, _, password = self.base.partition("://")[2].rpartition("@")[0].partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    @property
    def digest(self) -> str:
        """Of all of it, what is not shown included: no two places have the same.

        A URL that was signed anew is still of the same object.
        """
        return _digest(self)

    @property
    def _is_web(self) -> bool:
        return self.scheme.rpartition("::")[2] in WEB

    @property
    def name(self) -> str:
        """Last part of the path."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> Address:
        """The folder that it is in."""
        return replace(self, path=posixpath.dirname(self.path))

    def join(self, key: str) -> Address:
        """A place below this one."""
        return replace(self, path=f"{self.path}/{key}".strip("/"))


@lru_cache(maxsize=4096)
def _digest(address: Address) -> str:
    import hashlib  # loads OpenSSL: 3 ms, and every command parses addresses

    tail = address.tail
    if tail.startswith("?"):
        fields = tail[1:].split("&")
        tail = "&".join(field for field in fields if not _SIGNING.match(field.partition("=")[0]))
    joined = "\0".join((address.base, address.path, tail))
    return hashlib.sha256(joined.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _without_secrets(url: str) -> str:
    # A password with a slash makes a URL none: all before the last @ is left out.
    return re.sub(r"(?<=://).*@", "", url.partition("?")[0])
