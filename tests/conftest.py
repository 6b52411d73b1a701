from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code. By default the same
# examples are tried in every run, so that a change is judged by what it changed; `make soak`
# explores new ones (HYPOTHESIS_PROFILE=explore).
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Hundreds of tests start a Python of their own, and none should compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(request, monkeypatch):
    # Half the time of a small conversion; what is synced when is tested where it is the subject.
    if "syncs" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda _: None)
