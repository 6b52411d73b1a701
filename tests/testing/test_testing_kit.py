"""The kit that other tests and the benchmarks rely on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxarray.core.errors import StateError, UnsupportedError
from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import can_measure, peak_above_imports
from voxarray.testing.sample import sample
from voxarray.testing.synthetic import Phantom, write_nifti

MIB = 1 << 20

needs_proc = pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")


@needs_proc
def test_peak_is_that_of_the_statement_alone() -> None:
    big_setup = "import numpy as np; a = np.ones(64 << 20, 'u1'); del a"
    peak = peak_above_imports(big_setup, "b = np.ones(32 << 20, 'u1'); del b; result = 7")
    assert 31 * MIB <= peak.bytes <= 36 * MIB
    assert peak.anonymous <= peak.bytes + MIB
    assert peak.result == 7
    assert peak.seconds > 0


@needs_proc
def test_nothing_costs_nothing() -> None:
    assert peak_above_imports("import json", "pass").bytes < MIB


@needs_proc
def test_failing_code_says_what_it_printed() -> None:
    with pytest.raises(StateError, match=r"(?s)CHILD_FAILED.*ZeroDivisionError"):
        peak_above_imports("", "1 / 0")


@needs_proc
def test_code_that_hangs_is_killed() -> None:
    with pytest.raises(StateError, match="TIMEOUT"):
        peak_above_imports("", "while True: pass", timeout=0.2)


@pytest.mark.parametrize("kind", ["head", "noisy"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_phantoms_are_what_nibabel_reads(tmp_path: Path, kind: str, suffix: str) -> None:
    phantom = Phantom((24, 20, 16), kind, seed=3)  # type: ignore[arg-type]
    write_nifti(phantom, tmp_path / f"a{suffix}")
    image = nib.load(tmp_path / f"a{suffix}")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.affine, phantom.affine)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, phantom.planes(0, 16))


def test_phantoms_depend_on_seed_and_position_alone() -> None:
    phantom = Phantom((32, 32, 32), seed=1)
    whole = phantom.planes(0, 32)
    np.testing.assert_array_equal(whole[10:20], phantom.planes(10, 20))
    assert (whole != Phantom((32, 32, 32), seed=2).planes(0, 32)).any()
    assert whole[0, 0, 0] == 0
    assert 400 < whole[16, 16, 16] < 800


@needs_proc
def test_writing_needs_no_more_memory_for_deeper_volumes(tmp_path: Path) -> None:
    peak = peak_above_imports(
        "import nibabel; from voxarray.testing.synthetic import Phantom, write_nifti",
        f"write_nifti(Phantom((256, 256, 384)), {str(tmp_path / 'a.nii')!r})",
    )
    assert peak.bytes < 40 * MIB  # the volume has 48 MiB


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="neither"):
        write_nifti(Phantom((8, 8, 8)), tmp_path / "a.mha")


def test_counted_reads_are_those_of_voxels_inside_the_block() -> None:
    scan = sample((8, 6, 4), spacing=3)
    with count_reads() as reads:
        assert scan[2:4].shape == (1, 2, 6, 4)
        assert (reads.calls, reads.voxels) == (0, 0)
        scan[2:4].numpy()
    assert reads.voxels == 2 * 6 * 4
    scan.numpy()
    assert reads.voxels == 2 * 6 * 4


def test_the_sample_is_the_same_head_of_any_size() -> None:
    scan = sample((8, 6, 4), spacing=3)
    assert (scan.shape, scan.spacing, scan.dtype) == ((1, 8, 6, 4), (3.0, 3.0, 3.0), np.int16)
    np.testing.assert_array_equal(scan.numpy(), sample((8, 6, 4), spacing=3).numpy())
