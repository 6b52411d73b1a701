"""Azurite, the emulator of Azure's object store, where its command is installed (npm).

Of Google's store the emulators of package indexes lack the XML listing that obstore asks for.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Of every emulator of Azure, from Microsoft's documentation: it protects nothing.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "scans"

AZURITE = "azurite-blob"


@contextmanager
def azurite(folder: Path) -> Iterator[dict[str, Any]]:
    """Azure's emulator with one container; gives the options of obstore for ``az``."""
    port = _free_port()
    place = ["--location", str(folder), "--silent", "--skipApiVersionCheck"]
    with _running([AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), *place], port):
        endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        _make_container(endpoint)
        yield {
            "account_name": ACCOUNT,
            "account_key": KEY,
            "endpoint": endpoint,
            "client_options": {"allow_http": True},
        }


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _make_container(endpoint: str) -> None:
    """A request signed with the shared key, for obstore makes no containers."""
    now = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = f"x-ms-date:{now}\nx-ms-version:2021-08-06"
    resource = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"{headers}\n{resource}"
    digest = hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()
    request = urllib.request.Request(f"{endpoint}/{CONTAINER}?restype=container", method="PUT")
    request.add_header("x-ms-date", now)
    request.add_header("x-ms-version", "2021-08-06")
    signature = base64.b64encode(digest).decode()
    request.add_header("Authorization", f"SharedKey {ACCOUNT}:{signature}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 201
