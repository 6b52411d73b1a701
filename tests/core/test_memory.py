"""How much memory there is, may be used and will be needed."""

from __future__ import annotations

import os
import subprocess
import sys

import dask.config
import pytest

from voxarray.core import memory, resource_limits, settings
from voxarray.core.errors import MemoryBudgetError

MIB = 1 << 20


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (96 * 1000, "93.8 KiB"),
        (256 * MIB, "256.0 MiB"),
        (3 * MIB * 1024, "3.0 GiB"),
        (1 << 62, "4096.0 PiB"),
    ],
)
def test_bytes_as_people_read_them(count, text):
    assert memory.format_bytes(count) == text


def test_the_limit_is_at_most_what_the_machine_has():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.limit() <= machine


def test_the_budget_is_half_of_the_limit_or_what_is_set():
    with dask.config.set({"voxarray.memory-budget": None}):
        assert memory.budget() == memory.limit() // 2
    with dask.config.set({"voxarray.memory-budget": "64 MiB"}):
        assert memory.budget() == 64 * MIB


def test_what_needs_too_much_is_refused():
    with dask.config.set({"voxarray.memory-budget": "64 MiB"}):
        memory.require(64 * MIB, "this", "nothing")
        with pytest.raises(MemoryBudgetError) as caught:
            memory.require(65 * MIB, "loading it", "load a part")
    assert caught.value.code == "OVER_BUDGET"
    assert isinstance(caught.value, MemoryError)
    with (
        dask.config.set({"voxarray.memory-budget": None}),
        pytest.raises(MemoryBudgetError, match=f"half of .*{resource_limits.memory().origin}"),
    ):
        memory.require(1 << 60, lambda: "this", "nothing")
    for part in ("loading it needs 65.0 MiB", "64.0 MiB", "voxarray.memory-budget", "load a part"):
        assert part in caught.value.message


def test_a_guard_that_passes_makes_no_text():
    def text():
        raise AssertionError("nobody reads it")

    memory.require(1, text, "nothing")


def test_a_report_is_a_table():
    lines = str(memory.MemoryReport(None, MIB, 0, 2 * MIB, 3 * MIB)).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) <= 2
    assert "not on disk" in lines[0]
    assert lines[3].endswith("2.0 MiB")


# --- Settings -------------------------------------------------------------------------------------


def test_settings_have_defaults_and_are_daskS():
    assert settings.get_bytes("block-cache") == 1 << 30
    assert settings.get_bytes("block-cache") == 1 << 30
    with dask.config.set({"voxarray.block-cache": "5 MiB"}):
        assert settings.get_bytes("block-cache") == 5 * MIB
    assert settings.get_bytes("block-cache") == 1 << 30


def test_settings_come_from_the_environment():
    code = "from voxarray.core import settings; print(settings.get_bytes('chunk-limit'))"
    environment = {**os.environ, "DASK_VOXARRAY__CHUNK_LIMIT": "3 MiB"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert int(done.stdout) == 3 * MIB


def test_unknown_settings_are_refused():
    with pytest.raises(KeyError, match="no setting 'chunks'"):
        settings.get("chunks")


def test_threads():
    with dask.config.set({"voxarray.threads": 3}):
        assert settings.threads() == 3
    with dask.config.set({"voxarray.threads": 0}):
        assert settings.threads() == 1
    assert 1 <= settings.threads() <= 8
