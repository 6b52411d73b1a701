"""Tests on a real SLURM: ``make slurm``, not part of ``make test``.

It is set up once for all of them and torn down after; where that cannot be, they are skipped by
the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "cohort"))  # the samples of cohorts

from one_node import CannotRun, OneNode, installed


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneNode]:
    try:
        installed()
    except CannotRun as why:
        pytest.skip(str(why))
    node = OneNode(tmp_path_factory.mktemp("slurm") / "node")
    try:
        node.start()
        yield node
    except CannotRun as why:
        pytest.skip(str(why))
    finally:
        node.stop()
