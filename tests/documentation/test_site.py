"""The site builds with warnings as errors: links, anchors, names of objects, pages in no menu."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).parents[2] / "notebooks" / "mkdocs.yml"


def test_builds_strictly(tmp_path):
    environment = {
        **os.environ,
        "VOXARRAY_DOCS_EXECUTE": "false",  # test_notebooks.py runs them
        "NO_MKDOCS_2_WARNING": "1",
    }
    built = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("-f", CONFIGURATION, "-d", tmp_path / "site"),
        ],
        env=environment,
        cwd=tmp_path,  # mkdocs-jupyter keeps a cache there
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    for page in ("index.html", "first-look/index.html", "reference/images/index.html"):
        assert (tmp_path / "site" / page).stat().st_size > 10_000
    for page, link in (
        ("index.html", "first-look/"),
        ("index.html", "error-codes/"),
        ("how-to/cohort/index.html", "../../benchmark-results/"),
        ("interoperate/index.html", "../how-to/interoperate/#viewers"),
    ):  # between files of the clone before
        assert f'href="{link}"' in (tmp_path / "site" / page).read_text("utf-8"), link
    reference = (tmp_path / "site/reference/images/index.html").read_text("utf-8")
    assert "Nothing is read before it is needed" in reference
    assert "memory_report" in reference
    archives = (tmp_path / "site/reference/archives/index.html").read_text("utf-8")
    returned = archives.split('id="voxarray.verify"')[1].split(">Returns:<")[1].split("</ul>")[0]
    assert returned.count("<li ") == 1  # the lines of one paragraph, not a value for each
    for built_page in (tmp_path / "site").glob("reference/*/index.html"):
        assert "::</p>" not in built_page.read_text("utf-8"), built_page  # Sphinx's, not Markdown's


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.syspath_prepend(CONFIGURATION.parent)
    from bars import settled

    yield settled
    del sys.modules["bars"]


def page(model: str) -> str:
    """What nbconvert makes of a cell with a bar."""
    return f"""<p>before</p>
<script type="application/vnd.jupyter.widget-view+json">
{{"version_major": 2, "model_id": "{model}"}}
</script>
<script>
(function() {{
  function addWidgetsRenderer() {{ scriptElement.src = "https://elsewhere"; }}
}}());
</script>
<script type="application/vnd.jupyter.widget-state+json">
{{"state": {{
  "bar": {{"model_name": "OutputModel", "state": {{
    "outputs": [{{"data": {{"text/html": "<pre>images 13/13</pre>"}}}}]}}}},
  "viewer": {{"model_name": "AnyModel", "state": {{}}}}
}}}}
</script><p>after</p>"""


def test_bars_stand_as_they_ended(settled):
    assert settled(page("bar")).split() == (
        ["<p>before</p>", "<pre>images", "13/13</pre>", "<p>after</p>"]
    )
    assert settled("<p>no widgets</p>") == "<p>no widgets</p>"


@pytest.mark.parametrize("model", ["viewer", "gone"])
def test_other_widgets_are_refused(settled, model):
    with pytest.raises(ValueError, match="a widget of which a page shows nothing"):
        settled(page(model))
