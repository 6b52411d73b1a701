"""Requests through an HTTP proxy, as a setting names it."""

from __future__ import annotations

import dask.config
import numpy as np
import pytest

import voxarray as vx

PAGE = "http://scans.invalid/a.nii"


def test_a_proxy_of_the_settings_is_asked_for_a_host_that_it_alone_knows(web, voxels):
    with dask.config.set({"voxarray.remote-options": {"http": {"proxy_url": web.url}}}):
        np.testing.assert_array_equal(vx.ScalarImage(PAGE).numpy()[0], voxels)
    assert web.seen["GET"]


def test_without_the_proxy_the_host_is_not_found(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(vx.TransportError):
        vx.ScalarImage(PAGE).shape  # noqa: B018  # opens it
