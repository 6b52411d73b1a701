"""Folders of results of nnU-Net: told from bundles, and what to do with them.

Their network is built by a class that the plans name, and their weights are pickled with the state
of the training: to run either would be to run what the folder says. What can be said without that
is where the network is to be had, and the patch size and spacing that it was trained with.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from voxarray.core.errors import ModelError

_PLANS = ("plans.json", "plans.pkl")
_WEIGHTS = re.compile(r"checkpoint_\w+\.pth|model_\w+\.model")
_FOLD = re.compile(r"fold_\w+")


def refuse_nnunet(path: str) -> None:
    """Refuse results of nnU-Net by name, and say what to do.

    Args:
        path: A file of weights, or a folder: of one fold, of one configuration, or of a data set.

    Raises:
        ModelError: If it is one (``NNUNET``).
    """
    folder = _configuration_folder(path)
    if folder is None:
        return
    raise ModelError(
        f"{path} holds results of nnU-Net, a network that only its own code builds: from Python, "
        "load it by nnUNetPredictor.initialize_from_trained_model_folder, wrap the predictor's "
        ".network in a module, and pass that module. The module must transpose patches (N, C, W, "
        "H, D) to the order of axes of nnU-Net (usually D, H, W), and the results back. For the "
        "command line, export the module with torch.jit.trace, torch.export or torch.onnx. "
        f"{_numbers(folder)}",
        code="NNUNET",
        path=path,
    )


def _configuration_folder(path: str) -> str | None:
    """The folder with the plans that a path belongs to; None if it is none of nnU-Net."""
    if os.path.isfile(path):
        if not _WEIGHTS.fullmatch(os.path.basename(path)):
            return None
        path = os.path.dirname(path)
    try:
        below = [entry.path for entry in os.scandir(path) if entry.is_dir()]
    except OSError:  # whoever reads the model says what is wrong with it
        return None
    above = os.path.dirname(path) if _FOLD.fullmatch(os.path.basename(path)) else path
    return next((folder for folder in (path, above, *sorted(below)) if _is_one(folder)), None)


def _is_one(folder: str) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:  # a folder of somebody else's beside those of a bundle
        return False
    return any(name in names for name in _PLANS) and any(_FOLD.fullmatch(name) for name in names)


def _numbers(folder: str) -> str:
    """What the plans say of patches, in the order of axes that voxarray has."""
    plans = os.path.join(folder, "plans.json")
    name = os.path.basename(folder).rpartition("__")[2]
    try:
        with open(plans, encoding="utf-8") as file:
            document = json.load(file)
        configuration = _configuration(document["configurations"], name)
        order = document.get("transpose_backward", [0, 1, 2])
        sizes, spacing = (
            # In the order of the network; reversed they are W, H, D.
            tuple(configuration[key][axis] for axis in order)[::-1]
            for key in ("patch_size", "spacing")
        )
    except (OSError, ValueError, LookupError, TypeError):
        return f"Patch size and spacing are in the plans in {folder}, as (D, H, W)."
    how = ", ".join(map(str, configuration.get("normalization_schemes", ()))) or "none"
    return (
        f"Its plans say patch_size={sizes} and a spacing of {spacing} mm as (W, H, D), normalised "
        f"by {how}: pass them as patch_size= and in preprocess=."
    )


def _configuration(configurations: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A configuration with what it inherits from others."""
    configuration = configurations[name]
    chain = [configuration]
    while "inherits_from" in configuration and len(chain) <= len(configurations):
        configuration = configurations[configuration["inherits_from"]]
        chain.append(configuration)
    return {key: value for item in reversed(chain) for key, value in item.items()}
