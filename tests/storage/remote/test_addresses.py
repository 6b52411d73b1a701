"""What a URL says, and which of two URLs are one."""

from __future__ import annotations

import dask.config
import pytest

from voxarray.core.errors import StateError, UnsupportedError, VoxarrayError
from voxarray.formats.registry import open_source
from voxarray.storage.remote.address import Address, as_local
from voxarray.storage.remote.transport import objects_at


@pytest.mark.parametrize(
    ("url", "base", "path", "tail"),
    [
        ("http://[::1]:8000/x.nii", "http://[::1]:8000", "x.nii", ""),
        ("http://h/get.nii?x=a::b", "http://h", "get.nii", "?x=a::b"),
        ("http://h/get.nii?u=a::http://b/c", "http://h", "get.nii", "?u=a::http://b/c"),
        ("s3://b/two::colon.nii", "s3://b", "two::colon.nii", ""),
        ("s3://b/a::s3://c/d.nii", "s3://b", "a::s3://c/d.nii", ""),
        ("ftp://h/two::colon.nii", "ftp://h", "two::colon.nii", ""),
        ("simplecache::s3://b/a.nii", "simplecache::s3://b", "a.nii", ""),
        ("simplecache::http://[::1]/a.nii?q=a::b", "simplecache::http://[::1]", "a.nii", "?q=a::b"),
        ("zip://in/a.nii::s3://b/c.zip", "zip://", "in/a.nii", "::s3://b/c.zip"),
        ("zip://x.nii::tar::s3://b/c", "zip://", "x.nii", "::tar::s3://b/c"),
    ],
)
def test_double_colons_chain_only_what_has_a_scheme_behind_it(url, base, path, tail):
    address = Address.parse(url)
    assert (address.base, address.path, address.tail) == (base, path, tail)
    assert address.url == url


@pytest.mark.parametrize("url", ["http://[::1/x.nii", "http://h:port/x.nii", "http://[x]/a.nii"])
def test_what_is_no_url_is_named_without_its_secrets(url):
    with pytest.raises(UnsupportedError) as caught:
        open_source(f"{url}?signature=secret")
    assert caught.value.code == "BAD_URL"
    assert "secret" not in str(caught.value)


def test_hosts_of_ipv6_are_asked():
    with dask.config.set({"voxarray.remote-attempts": 1}), pytest.raises(VoxarrayError) as caught:
        open_source("http://[::1]:1/x.nii")
    assert caught.value.code == "TRANSPORT"


def test_chains_that_fsspec_cannot_read_are_named():
    with pytest.raises(VoxarrayError) as caught:
        open_source("simplecache::http://[::1]:1/x.nii?q=a::b")
    assert caught.value.code in ("BAD_URL", "TRANSPORT")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://h/a.nii?id=1", "http://h/a.nii?id=2"),
        ("http://h/a.nii", "http://h/a.nii?id=2"),
        ("http://ann:x@h/a.nii", "http://bob:x@h/a.nii"),
        ("ftp://ann:x@h/a.nii", "ftp://bob:x@h/a.nii"),
        ("zip://a.nii::http://h/z.zip?id=1", "zip://a.nii::http://h/z.zip?id=2"),
        ("simplecache::http://h/a.nii?id=1", "simplecache::http://h/a.nii?id=2"),
        ("http://h/a%3Fb.nii", "http://h/a?b.nii"),
    ],
)
def test_what_is_not_shown_tells_places_apart(one, other):
    first, second = (objects_at(Address.parse(url)) for url in (one, other))
    assert first.unique != second.unique
    assert Address.parse(one).digest != Address.parse(other).digest
    for objects in (first, second):
        for secret in ("id=", "ann", "bob", ":x@"):
            assert secret not in objects.unique
            assert secret not in objects.shown


def test_a_url_that_is_signed_anew_is_of_the_same_object():
    signed = "http://h/a.nii?part=2&X-Amz-Date={}&X-Amz-Signature={}"
    one, other = (Address.parse(signed.format(n, n * 7)) for n in (1, 2))
    assert one.digest == other.digest
    assert one.digest != Address.parse("http://h/a.nii?part=1&X-Amz-Date=1").digest


def test_options_that_say_where_tell_places_apart():
    objects = objects_at(Address.parse("s3://b/a.nii"))
    seen = set()
    for options in (
        {},
        {"endpoint": "https://one"},
        {"endpoint": "https://two"},
        {"client_options": {"proxy_url": "http://three"}},
    ):
        with dask.config.set({"voxarray.remote-options": {"s3": options}}):
            seen.add(objects.unique)
            with_key = {**options, "secret_access_key": "hidden"}
        with dask.config.set({"voxarray.remote-options": {"s3": with_key}}):
            assert objects.unique in seen  # who asks does not matter
            assert "hidden" not in objects.unique
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b.nii", "/a/b.nii"),
        ("FILE:///a/b%20c.nii", "/a/b c.nii"),
        ("file://localhost/a.nii", "/a.nii"),
        ("/a/b%20c.nii", "/a/b%20c.nii"),
    ],
)
def test_file_urls_are_paths(url, path):
    assert as_local(url) == path


def test_files_of_other_machines_are_refused():
    with pytest.raises(UnsupportedError) as caught:
        open_source("file://server/a.nii")
    assert caught.value.code == "BAD_URL"


# --- Options of obstore -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"endpiont": "http://127.0.0.1:9"},
        {"aws_nothing": True},
        {"client_options": {"allow_htpp": True}},
        {"timeout": "soon"},
        {"endpoint": 5},
        "skip",
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "s3a", "gs", "az"])
def test_options_that_cannot_be_used_are_named(options, scheme):
    table = {scheme: options}
    with dask.config.set({"voxarray.remote-options": table}), pytest.raises(StateError) as caught:
        open_source(f"{scheme}://bucket/a.nii")
    assert caught.value.code == "BAD_REMOTE_OPTIONS"
    if isinstance(options, dict):
        name = next(iter(options.get("client_options", options)))
        assert name in str(caught.value) or name.partition("_")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ({"endpoint": "http://127.0.0.1:1", "allow_http": True}, {}),
        ({"endpoint": "http://127.0.0.1:1"}, {}),
        ({}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
        ({}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true"}),
        ({"aws_allow_http": "true"}, {"AWS_ENDPOINT": "http://127.0.0.1:1"}),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_endpoints_without_encryption_are_asked(options, environment, scheme, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given = {"region": "us-east-1", "skip_signature": True, **options}
    settings = {"voxarray.remote-options": {"s3": given}, "voxarray.remote-attempts": 1}
    with dask.config.set(settings), pytest.raises(VoxarrayError) as caught:
        open_source(f"{scheme}://bucket/a.nii")
    assert caught.value.code == "TRANSPORT"
    assert "builder error" not in str(caught.value)


def test_permission_of_http_can_be_taken_back():
    options = {"s3": {"endpoint": "http://127.0.0.1:1", "skip_signature": True, "region": "x"}}
    options["s3"]["client_options"] = {"allow_http": False}
    settings = {"voxarray.remote-options": options, "voxarray.remote-attempts": 1}
    with dask.config.set(settings), pytest.raises(VoxarrayError, match="builder error"):
        open_source("s3://bucket/a.nii")
