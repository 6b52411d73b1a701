from __future__ import annotations

import os

import pytest

from voxarray.core import portable


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request, monkeypatch):
    # Half the time of a small conversion; what is synced when is tested where it is the subject.
    if "syncs" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda _: None)
        monkeypatch.setattr(portable, "syncfs", lambda _: None)
