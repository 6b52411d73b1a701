"""Bars of notebooks as they stood at the end, in the pages of the site.

A notebook keeps a bar as a widget: an empty place, and its state for a script that a page would
fetch from elsewhere. The page shows what the state says, and fetches nothing.
"""

from __future__ import annotations

import json
import re

_VIEW = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">(.*?)</script>', re.DOTALL
)
_STATE = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL
)
_FETCHING = re.compile(
    r"<script>\s*\(function\(\) \{\s*function addWidgetsRenderer.*?</script>", re.DOTALL
)


def settled(html: str) -> str:
    """A page with every widget replaced by what it showed last.

    Raises:
        ValueError: If a widget is no output, such as a viewer, which stands for nothing then.
    """
    found = _STATE.search(html)
    models = json.loads(found[1])["state"] if found else {}

    def shown(view: re.Match[str]) -> str:
        model = models.get(json.loads(view[1])["model_id"], {})
        if model.get("model_name") != "OutputModel":
            raise ValueError(f"a notebook keeps a widget of which a page shows nothing: {view[1]}")
        return "".join(one["data"]["text/html"] for one in model["state"]["outputs"])

    return _FETCHING.sub("", _STATE.sub("", _VIEW.sub(shown, html)))
