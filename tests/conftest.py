from __future__ import annotations

import os

from hypothesis import settings

# How long an example takes says more about the machine than about the code. By default the same
# examples are tried in every run, so that a change is judged by what it changed; `make soak`
# explores new ones (HYPOTHESIS_PROFILE=explore).
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
