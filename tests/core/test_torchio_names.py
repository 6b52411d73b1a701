"""What TorchIO has and voxarray has not is an error that says what to use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchio as tio

import voxarray as vx
from voxarray.core.torchio_names import INSTEAD, advice

PAGE = Path(__file__).parents[2] / "notebooks" / "pages" / "migration.md"

INTERNAL = {"constants", "external", "reference", "torch", "types", "DATA_REPO", "REPO_URL"}
INTERNAL |= {"MIN_FLOAT_32"}
INTERNAL |= {"inference"}  # here a package of that name, an attribute once it is imported


@pytest.mark.parametrize(
    "name", sorted(n for n in {*dir(tio), *tio.__all__} if not n.startswith("_"))
)
def test_a_name_of_torchio_is_here_or_its_error_says_what_to_use(name):
    if name in INTERNAL or name in vx.__all__:
        return
    with pytest.raises(AttributeError, match=r"has no attribute .*: .+"):
        getattr(vx, name)


def test_no_advice_is_given_for_names_of_voxarray():
    assert not set(INSTEAD) & set(vx.__all__)


def test_another_name_gets_no_advice():
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
        vx.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "name", ["CopyAffine", "PCA", "Queue", "RandomAffine", "SubjectsDataset", "SubjectsLoader"]
)
def test_the_page_on_migration_names_it(name):
    assert name in PAGE.read_text("utf-8")
    assert advice(name)
