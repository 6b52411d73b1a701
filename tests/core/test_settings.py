"""Settings are those of dask's configuration, whether or not dask is loaded already."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import dask.config
import pytest

from voxarray.core import settings

ASK = """
import json, sys
from voxarray.core import settings
values = [settings.get_bytes("block-cache"), settings.get_bytes("chunk-limit")]
print(json.dumps([*values, "dask" in sys.modules]))
"""


def asked(home, **environment: str) -> list:
    """Two settings of a fresh process, and whether it has loaded dask."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("DASK")}
    ran = subprocess.run(
        [sys.executable, "-c", ASK],
        env=clean | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout)


def test_defaults_are_known_without_dask(tmp_path):
    assert asked(tmp_path) == [1 << 30, 256 << 20, False]


def test_a_variable_of_the_environment_counts(tmp_path):
    assert asked(tmp_path, DASK_VOXARRAY__BLOCK_CACHE="3 MiB") == [3 << 20, 256 << 20, True]


def test_a_file_in_the_home_folder_counts(tmp_path):
    folder = tmp_path / ".config" / "dask"
    folder.mkdir(parents=True)
    (folder / "distributed.yaml").write_text("distributed:\n  version: 2\n")
    assert asked(tmp_path) == [1 << 30, 256 << 20, False]  # dask writes such files unasked
    (folder / "mine.yaml").write_text("voxarray:\n  block-cache: 5 MiB\n")
    assert asked(tmp_path) == [5 << 20, 256 << 20, True]


def test_folders_are_those_in_which_dask_looks(monkeypatch):
    monkeypatch.delenv("DASK_ROOT_CONFIG", raising=False)
    monkeypatch.delenv("DASK_CONFIG", raising=False)
    assert settings.config_folders() == set(dask.config._get_paths())


@pytest.mark.parametrize("key", settings.DEFAULTS)
def test_sizes_are_numbers(key):
    assert not str(settings.DEFAULTS[key]).endswith("iB")
