"""``voxarray history``: what was done to the image in an archive."""

from __future__ import annotations

import os

import click

from voxarray.cli.console import console, output_options
from voxarray.core.errors import FormatError
from voxarray.image import ScalarImage
from voxarray.transforms.pipeline_file import PREDICTING, parsed, to_text


@click.command("history")
@click.argument("archive")
@output_options(as_json=False)
def command(archive: str) -> None:
    """Print the transforms that were applied to an archive.

    The text has the form of a pipeline file, but says what was done to this scan: a step that
    changed nothing is not in it, and instead of CropOrPad it names the Crop or Pad that this scan
    needed.
    To do the same to a cohort, take the pipeline as it was given: `voxarray preprocess` keeps it as
    pipeline.yaml in the folder of the new cohort.

    For a prediction, the history has a step named infer, with all settings and a checksum of
    the model. A pipeline cannot repeat this step; to do so, run voxarray infer with the model.
    """
    path = os.path.expanduser(archive)
    history = ScalarImage(path).history
    if not history:
        raise FormatError(
            f"{archive} has no history: only archives that voxarray wrote have one",
            code="NO_HISTORY",
            path=path,
        )
    # What cannot be done again is refused here, and not by the run that is made of it.
    steps = [step for step in history if step["operation"] != PREDICTING]
    parsed(to_text(steps), f"the history of {archive}")
    if len(steps) < len(history):
        console().say(_OF_A_PREDICTION)
    console().say(to_text(history), newline=False)


_OF_A_PREDICTION = (
    "# A model predicted this image (the step infer). No pipeline can repeat that step: use "
    "voxarray infer."
)
