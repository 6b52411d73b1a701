"""Every public class and function has an example in its docstring, and all of them run.

They run in one process and one test, for what they cost is mostly the imports. In all of them
`voxarray` is known as ``vx``, and the working folder is empty.
"""

from __future__ import annotations

import doctest
from collections.abc import Iterator

import pytest

import voxarray as vx

PACKAGES = (vx, vx.transforms, vx.patches, vx.testing, vx.source)


def public() -> Iterator[tuple[str, object]]:
    """Classes and functions, each once; of errors, which are alike, the base alone."""
    seen: set[int] = set()
    for package in PACKAGES:
        for name in package.__all__:
            member = getattr(package, name)
            is_kind_of_error = isinstance(member, type) and issubclass(member, Exception)
            if is_kind_of_error and member is not vx.VoxarrayError:
                continue
            if callable(member) and id(member) not in seen:
                seen.add(id(member))
                yield name, member


def test_every_public_name_has_an_example():
    assert [name for name, member in public() if ">>>" not in (member.__doc__ or "")] == []


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_examples_run(tmp_path, monkeypatch):
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    wrong: list[str] = []
    for name, member in public():
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        for example in finder.find(member, name, module=False, globs={"vx": vx}):
            runner.run(example, out=wrong.append)
    assert not wrong, "\n".join(wrong)
    assert runner.summarize(verbose=False).attempted > 100
