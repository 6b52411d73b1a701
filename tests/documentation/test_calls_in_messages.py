"""What a message or docstring tells to call can be called by that name."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import voxarray as vx

_CALL = re.compile(r"\b(?:voxarray|vx)((?:\.\w+)+)\(")


def _calls() -> set[str]:
    found = set[str]()
    for file in sorted(Path(vx.__file__).parent.rglob("*.py")):
        text = file.read_text("utf-8")
        if _CALL.search(text):
            nodes = ast.walk(ast.parse(text))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
            found |= {
                name for text in texts if isinstance(text, str) for name in _CALL.findall(text)
            }
    return found


def _is_callable(name: str) -> bool:
    found, path = vx, vx.__name__
    for part in name.split(".")[1:]:
        path += f".{part}"
        if not hasattr(found, part) and importlib.util.find_spec(path) is None:
            return False
        found = getattr(found, part, None) or importlib.import_module(path)
    return callable(found)


def test_what_messages_tell_to_call_can_be_called():
    calls = _calls()
    assert ".xarray_index.attach.attach" in calls
    assert [name for name in sorted(calls) if not _is_callable(name)] == []
