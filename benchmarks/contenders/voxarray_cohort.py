"""A cohort: plan, convert with checksums, pyramid and verification, catalogue, report."""

from __future__ import annotations

from voxarray.cohort.run.build import ExecutionOptions, build


def run(source: str, destination: str, workers: int = 0) -> None:
    result = build(source, destination, run=ExecutionOptions(workers=workers))
    assert not result.failed, result
