"""URLs, taken apart: where a store begins, what is in it, and what may be shown of it."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urlsplit

WEB = ("http", "https")


def is_url(text: object) -> bool:
    """Whether a path is a URL."""
    return isinstance(text, str) and "://" in text


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
        """The address of a URL."""
        first, chained, rest = url.partition("::")
        tail = chained + rest
        scheme, _, place = first.partition("://")
        if scheme.lower() in WEB:
            parts = urlsplit(first)
            query = f"?{parts.query}" if parts.query else ""
            return cls(f"{scheme}://{parts.netloc}", unquote(parts.path).strip("/"), query + tail)
        if not chained:
            host, _, place = place.partition("/")
            return cls(f"{scheme}://{host}", place.strip("/"), tail)
        if "://" not in first:  # simplecache::s3://bucket/a.nii
            inner = cls.parse(rest)
            return replace(inner, base=f"{first}::{inner.base}")
        return cls(f"{scheme}://", place.strip("/"), tail)

    @property
    def scheme(self) -> str:
        """Such as ``s3``, in lower case."""
        return self.base.partition("://")[0].lower()

    @property
    def url(self) -> str:
        """All of it, as it is requested."""
        path = quote(self.path, safe="/!$&'()*+,;=:@~") if self.scheme in WEB else self.path
        return f"{self.base}{'' if self.base.endswith('/') else '/'}{path}{self.tail}"

    @property
    def shown(self) -> str:
        """For people: without query and password, which may be secrets."""
        scheme, _, host = self.base.partition("://")
        tail = "" if self.tail.startswith("?") else self.tail
        host = host.rpartition("@")[2] if self.scheme in WEB else host
        return f"{scheme}://{host}{'/' if host else ''}{self.path}{tail}"

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
