from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request, monkeypatch):
    if "syncs" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda _: None)
