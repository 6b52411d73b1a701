"""The example of the page on cohorts, on real scans: from files to patches, compared at the end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cohort_samples import run

PAGE = Path(__file__).parents[2] / "notebooks/pages/how-to/cohort.md"
SHARED = Path(__file__).parents[2] / "../shared/data"


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no scans in {SHARED}")
def test_the_example_runs_on_real_scans(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    for scan in [*(SHARED / "nifti").glob("*.nii.gz"), SHARED / "dicom_ge_epi"]:
        (tmp_path / "scans" / scan.name).symlink_to(scan.resolve())
    (tmp_path / "scans/enhanced").mkdir()
    for scan in (SHARED / "dicom_enhanced").iterdir():
        (tmp_path / "scans/enhanced" / scan.name).symlink_to(scan.resolve())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M):
        exec(compile(block, str(PAGE), "exec"), names)
    made = names["made"]
    assert (made.converted, made.failed) == (7, 0)
    assert len(names["patches"]) >= 4
    result = run("verify", "cohort", "--source", "scans")
    assert result.exit_code == 0, result.stderr
    assert result.output.count(": OK") == 7
