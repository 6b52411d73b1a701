"""What transports are told beside the URL: settings per scheme, and the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from voxarray.core import settings
from voxarray.core.errors import StateError
from voxarray.storage.remote.redaction import without_secrets

K = TypeVar("K")
V = TypeVar("V")

_SAME = {
    "s3a": "s3",
    **dict.fromkeys(("azure", "abfs", "abfss", "adl"), "az"),
}
"""Schemes that are other names of one store."""

_VARIABLES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
"""How the variables of the environment begin that obstore heeds."""

_ENDPOINTS = ("endpoint", "endpoint_url", "endpoint_url_s3", "base_url")

CLIENT = frozenset(
    (
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "default_content_type"),
        *("default_headers", "http1_only", "http2_only", "http2_keep_alive_interval"),
        *("http2_keep_alive_timeout", "http2_keep_alive_while_idle", "http2_max_frame_size"),
        *("pool_idle_timeout", "pool_max_idle_per_host", "proxy_url", "proxy_ca_certificate"),
        *("proxy_excludes", "randomize_addresses", "read_timeout", "root_certificate", "timeout"),
        "user_agent",
    )
)
"""Options of the HTTP client, which obstore takes apart from those of the store."""

# What says who asks, or how patiently; all else may say where.
_NOT_LOCATION = ("key", "token", "secret", "password", "credential", "profile", "retry", "timeout")


_Variables = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client of obstore is made.

    Attributes:
        key: Of no other options.
        store: Options of the store.
        client: Options of its HTTP client.
    """

    key: str
    store: Mapping[str, Any] = field(compare=False)
    client: Mapping[str, Any] = field(compare=False)


_client_options: dict[tuple[Any, ...], ClientOptions] = {}
_location_keys: dict[str, str] = {}
_MOST = 64
"""Of either; few processes ask more than one store."""


def _cached(cache: dict[K, V], key: K, make: Callable[[], V]) -> V:
    value = cache.get(key)
    if value is None:
        if len(cache) >= _MOST:
            cache.clear()
        value = cache[key] = make()
    return value


def configured(setting: str, scheme: str) -> dict[str, Any]:
    """What a setting says of a scheme, or of the scheme that it is another name of.

    Raises:
        StateError: It is no table of tables (``BAD_REMOTE_OPTIONS``).
    """
    table = settings.get(setting) or {}
    scheme = scheme.rpartition("::")[2]
    try:
        entry = table.get(scheme)
        return dict((table.get(_SAME.get(scheme, scheme)) if entry is None else entry) or {})
    except (AttributeError, TypeError, ValueError):
        raise StateError(
            f"the setting voxarray.{setting}, a {type(table).__name__}, holds no table of options "
            f'for {scheme!r}: write {{"s3": {{"region": "eu-west-1"}}}}',
            code="BAD_REMOTE_OPTIONS",
        ) from None


def of_client(scheme: str, *, is_plain: bool, seconds: float = 0.0) -> ClientOptions:
    """The options of a scheme: the environment's, then ours, then those of the settings.

    Args:
        scheme: Such as ``s3``.
        is_plain: Whether the URL itself is one of HTTP without encryption.
        seconds: What a request may take at least, if the setting ``remote-timeout`` allows less.
    """
    options = configured("remote-options", scheme)
    timeout = max(seconds, float(settings.get("remote-timeout")))
    variables = _environment(scheme)
    # Asked for before each request, for any of them may change; put together when one has.
    key = (scheme, is_plain, timeout, variables, repr(options))
    return _cached(
        _client_options, key, lambda: _put_together(scheme, is_plain, timeout, variables, options)
    )


def _put_together(
    scheme: str, is_plain: bool, timeout: float, variables: _Variables, options: dict[str, Any]
) -> ClientOptions:
    client_options = options.pop("client_options", {}) or {}
    client: dict[str, Any] = {"timeout": f"{timeout:g}s"}
    client |= {name: value for name, value in variables if name in CLIENT}
    store: dict[str, Any] = {}
    for name, value in options.items():
        (client if _plain(name, scheme) in CLIENT else store)[_plain(name, scheme)] = value
    client |= client_options
    # obstore refuses an endpoint without encryption though it was named as such: with "builder
    # error", which says nothing. Whoever writes http:// means it.
    if is_plain or any(
        url.startswith("http://") for url in _endpoints(store, scheme, dict(variables))
    ):
        client.setdefault("allow_http", True)
    return ClientOptions(repr((sorted(store.items()), sorted(client.items()))), store, client)


def location_key(setting: str, scheme: str) -> str:
    """Text of those options of a scheme that may say where an object is; empty without any."""
    options = configured(setting, scheme)
    rows = _cached(_location_keys, repr(options), lambda: repr(_location_rows(options)))
    return "" if rows == "[]" else rows


def refusal(error: BaseException, scheme: str, options: ClientOptions) -> StateError:
    """What is said of options with which no client can be made."""
    names = sorted({*options.store, *options.client} - {"timeout"})
    reason = without_secrets(error) if isinstance(error, Exception) else "obstore knows no such key"
    return StateError(
        f"the setting voxarray.remote-options of {scheme!r} cannot be used ({reason}): check "
        f"{', '.join(names) or 'the URL'}; write options of the HTTP client, such as "
        f'allow_http, as {{"{scheme}": {{"client_options": {{...}}}}}}',
        code="BAD_REMOTE_OPTIONS",
    )


def _plain(name: str, scheme: str) -> str:
    """The name of an option of the client without the prefix that obstore also understands."""
    prefix = _VARIABLES.get(_SAME.get(scheme, scheme), "\0").lower()
    short = name.lower().removeprefix(prefix)
    return short if short in CLIENT else name


def _environment(scheme: str) -> _Variables:
    """What obstore itself would heed, if it were not given any options: names and values."""
    prefix = _VARIABLES.get(_SAME.get(scheme, scheme))
    if prefix is None:
        return ()
    names = _variables_read(prefix)
    # All names once, and not each of ours: to find out that one is not there takes ten times as
    # long, and this is asked before each request.
    return tuple(
        (names[variable], os.environ.get(variable, ""))
        for variable in sorted(names.keys() & os.environ)
    )


@cache
def _variables_read(prefix: str) -> Mapping[str, str]:
    """What is heeded, by the names of the variables."""
    return {prefix + name.upper(): name for name in (*CLIENT, *_ENDPOINTS)}


def _endpoints(
    store: Mapping[str, Any], scheme: str, variables: Mapping[str, str]
) -> Iterator[str]:
    prefix = _VARIABLES.get(_SAME.get(scheme, scheme), "")
    for name, value in store.items():
        if name.lower().removeprefix(prefix.lower()) in _ENDPOINTS:
            yield str(value)
    for name in _ENDPOINTS:
        yield variables.get(name, "")


def _location_rows(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    rows = []
    for name, value in sorted(options.items()):
        if not any(part in name.lower() for part in _NOT_LOCATION):
            inner = _location_rows(value) if isinstance(value, Mapping) else value
            rows.append((name, inner))
    return rows
