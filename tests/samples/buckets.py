"""A bucket on loopback, and what tests ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dask.config
import obstore
from obstore.store import S3Store

from object_server import ObjectServer
from voxarray.storage.remote import objects, obstore_objects


def options(endpoint: str) -> dict[str, Any]:
    """What the setting ``voxarray.remote-options`` says of s3."""
    return {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }


@dataclass
class Bucket:
    """One bucket.

    Attributes:
        name: Its name.
        endpoint: URL of the server.
        server: It, if it is ours; None if it is moto's.
    """

    name: str
    endpoint: str
    server: ObjectServer | None = None

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def store(self, prefix: str = "") -> S3Store:
        return _store(self.name, prefix, self.endpoint)

    def listed(self, prefix: str = "") -> list[str]:
        pages = obstore.list(self.store())
        keys = [str(entry["path"]) for page in pages for entry in page]
        return sorted(key for key in keys if key.startswith(prefix))

    def get(self, key: str) -> bytes:
        return bytes(obstore.get(self.store(), key).bytes())

    def put(self, key: str, data: bytes) -> None:
        obstore.put(self.store(), key, data)
        objects.forget()

    def delete(self, key: str) -> None:
        obstore.delete(self.store(), key)
        objects.forget()

    def put_tree(self, folder: Path, prefix: str) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file.read_bytes())


@cache
def _store(name: str, prefix: str, endpoint: str) -> S3Store:
    return S3Store(name, prefix=prefix or None, **options(endpoint))  # certificates take 10 ms


@contextmanager
def reached_through(endpoint: str) -> Iterator[None]:
    """Requests to s3:// go to an endpoint."""
    obstore_objects._connected.cache_clear()
    objects.forget()
    with dask.config.set({"voxarray.remote-options": {"s3": options(endpoint)}}):
        yield
    obstore_objects._connected.cache_clear()
    objects.forget()
