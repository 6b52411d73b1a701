"""Puts the site together: pages, notebooks, tables, and what stands beside the code it is about."""

from __future__ import annotations

import posixpath
import re
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
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

MADE_OF = {
    "benchmarks.md": ROOT / "benchmarks/README.md",
    "benchmark-results.md": ROOT / "benchmarks/results",
    "error-codes.md": HERE / "error_codes.py",
    "reference/transforms.md": ROOT / "src/voxarray/transforms/__init__.py",
}
"""What stands in a clone for the pages that are only made here: links there lead to it."""

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)#\s]+)(?=[#)])")
_NOTEBOOK_LINK = re.compile(r'(?<=href=")(?P<target>[^"#:]+\.(?:md|ipynb))(?=[#"])')


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
        ("error-codes.md", _beside("error_codes_page").page()),
        ("benchmark-results.md", _results()),
        ("reference/transforms.md", _transforms()),
    ):
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Links as the site needs them: pages have those that work in a clone, between files."""
    if page.file.abs_src_path is None:  # made here
        return markdown
    here, places = Path(page.file.abs_src_path).parent, _places(files)

    def on_site(link: re.Match[str]) -> str:
        uri = places.get((here / link["target"]).resolve())
        if uri is None:
            return link["target"]
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")

    return _LINK.sub(on_site, markdown)


def _places(files: Files) -> dict[Path, str]:
    """Where on the site the files of a clone are."""
    found = {Path(one.abs_src_path).resolve(): one.src_uri for one in files if one.abs_src_path}
    return found | {path: uri for uri, path in MADE_OF.items()}


def on_page_content(html: str, page: Page, files: Files, **_: object) -> str:
    """Bars of notebooks as they stood at the end, and paths without those of who built the site.

    Their links lead to pages, too; nobody else looks at them.
    """
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    places = _places(files)

    def on_site(link: re.Match[str]) -> str:
        uri = places.get((HERE / link["target"]).resolve())
        found = None if uri is None else files.get_file_from_path(uri)
        if found is None:
            raise PluginError(f"{page.file.src_uri} links to {link['target']}, which is no page")
        return found.url_relative_to(page.file)

    html = _NOTEBOOK_LINK.sub(on_site, html)
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
