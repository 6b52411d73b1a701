"""Puts the site together: pages, notebooks, tables, and what stands beside the code it is about."""

from __future__ import annotations

import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
ROOT = HERE.parent

ELSEWHERE = {
    "archive-format.md": ROOT / "src/voxarray/archive/SPECIFICATION.md",
    "changelog.md": ROOT / "CHANGELOG.md",
}
"""Pages that live beside what they describe."""


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is not in ``pages/``."""
    beside = [*HERE.glob("*.ipynb"), *HERE.glob("*.md"), *HERE.glob("pictures/*.*g")]
    for path in sorted(beside):
        uri = path.relative_to(HERE).as_posix()
        files.append(File(uri, str(HERE), config.site_dir, config.use_directory_urls))
    for uri, path in ELSEWHERE.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    for uri, text in (
        ("benchmarks.md", _benchmarks()),
        ("error-codes.md", _beside("error_codes").page()),
        ("benchmark-results.md", _results()),
        ("reference/transforms.md", _transforms()),
    ):
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Bars of notebooks as they stood at the end, and paths without those of who built the site."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    settled: str = _beside("bars").settled(html)
    packages = find_spec("nibabel").submodule_search_locations[0].removesuffix("/nibabel")
    return settled.replace(packages, "site-packages")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The places of site and repository, which pyproject.toml knows alone."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    config.site_url = urls["Documentation"] + "/"
    # No `repo_url`: the theme would ask a server for the number of its stars on every page.
    config.extra["social"] = [{"icon": "fontawesome/brands/github", "link": urls["Source"]}]
    return config


def _beside(name: str, folder: Path = HERE) -> Any:
    """A module that stands in a folder of no package."""
    sys.path.insert(0, str(folder))
    try:
        return import_module(name)
    finally:
        sys.path.pop(0)


def _benchmarks() -> str:
    """What is compared with what, and the main tables; in the site pictures stand elsewhere."""
    text = (ROOT / "benchmarks/README.md").read_text("utf-8")
    return text.replace("(../notebooks/pictures/", "(pictures/")


def _results() -> str:
    """All figures of all suites, as they are now."""
    page: str = _beside("table", ROOT / "benchmarks").page()
    return page


def _transforms() -> str:
    """The reference of all public transforms: `Transform` and `Compose` first."""
    transforms = _beside("voxarray.transforms", ROOT / "src")
    first = ["Transform", "Compose"]
    names = [*first, *sorted(set(transforms.__all__) - set(first))]
    homes = {name: getattr(transforms, name).__module__ for name in names}
    inherits = "    options: {inherited_members: false}"
    entries = (f"::: {homes[name]}.{name}\n{inherits}\n" for name in names)
    return "\n".join(["# Transforms\n", *entries])
