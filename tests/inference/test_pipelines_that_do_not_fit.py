"""A pipeline that does not fit a scan is said by name, wherever it is applied."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

import voxarray as vx
from voxarray.cli.main import main

MISFITS = {
    "normalisation": "- operation: ZNormalization\n  arguments: {masking_method: brain}\n",
    "mask": "- operation: Mask\n  arguments: {masking_method: brain}\n",
    "rescaling": "- operation: RescaleIntensity\n  arguments: {masking_method: brain}\n",
    "landmarks": "- operation: HistogramStandardization\n  arguments:\n"
    "    landmarks: {t2: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}\n",
}


class Bright(torch.nn.Module):
    def forward(self, patches):
        return torch.cat([300 - patches, patches - 300], dim=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, a scan as a file and an archive, and a cohort of it."""
    folder = tmp_path_factory.mktemp("misfits")
    torch.jit.trace(Bright(), torch.zeros(1, 1, 8, 8, 8)).save(folder / "net.pt")
    (folder / "scans").mkdir()
    scan = vx.testing.sample((12, 10, 8))
    scan.save(folder / "scans" / "t1.nii.gz")
    scan.save(folder / "t1.ome.zarr")
    vx.convert_cohort(folder / "scans", folder / "cohort", progress=False)
    for name, text in MISFITS.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("target", [["scans/t1.nii.gz", "lab.nii.gz"], ["t1.ome.zarr"], ["cohort"]])
def test_the_command_says_it_by_name(place, name, target):
    given = [place / one for one in target]
    done = run(
        "infer", place / "net.pt", *given, "--patch-size", 8, "--pipeline", place / f"{name}.yaml"
    )
    assert done.exit_code == 1
    assert "CANNOT_TRANSFORM: the transform cannot be applied" in done.stderr
    assert "unexpected error" not in done.stderr
    assert not (place / "lab.nii.gz").exists()


def test_json_has_the_code(place):
    options = ["--patch-size", 8, "--pipeline", place / "mask.yaml", "--json"]
    done = run("infer", place / "net.pt", place / "cohort", *options)
    assert json.loads(done.stdout)["failed"][0]["code"] == "CANNOT_TRANSFORM"


@pytest.mark.parametrize("name", MISFITS)
def test_python_says_it_by_name(place, name):
    transform = vx.Compose.from_yaml(place / f"{name}.yaml")
    scan, cohort = place / "scans" / "t1.nii.gz", vx.Cohort(place / "cohort")
    calls = [
        lambda: vx.infer(Bright(), scan, place / "no.nii", patch_size=8, preprocess=transform),
        lambda: cohort.map(transform)[0],
        lambda: list(cohort.map(transform)),
        lambda: cohort.map(transform).dataset(vx.UniformSampler(8))[0],
    ]
    for call in calls:
        with pytest.raises(vx.VoxarrayError) as caught:
            call()
        assert caught.value.code == "CANNOT_TRANSFORM"
        assert caught.value.path


def test_what_a_function_of_the_user_raises_is_left_as_it_is(place):
    def wrong(_):
        raise ValueError("of mine")

    scan = place / "scans" / "t1.nii.gz"
    for call in (
        lambda: vx.infer(Bright(), scan, place / "no.nii", patch_size=8, preprocess=wrong),
        lambda: vx.Cohort(place / "cohort").map(wrong)[0],
    ):
        with pytest.raises(ValueError, match=r"^of mine$"):
            call()
