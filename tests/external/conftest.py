"""Tests against foreign data and foreign programs: ``make external``, not part of ``make test``.

Folders of foreign data are named by variables of the environment, several of them separated as in
PATH; what needs one that is not set is skipped by its name:

* ``VOXARRAY_DICOM``: DICOM, at any depth, one series or more in each folder.
* ``VOXARRAY_NGFF``: a copy of github.com/ome/ngff-spec, and folders of OME-Zarr stores.
"""

from __future__ import annotations

import pytest
from foreign import VERDICTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What became of foreign data, in numbers."""
    if VERDICTS:
        terminalreporter.section("foreign data")
        for verdict, count in sorted(VERDICTS.items()):
            terminalreporter.write_line(f"{count:6d}  {verdict}")
