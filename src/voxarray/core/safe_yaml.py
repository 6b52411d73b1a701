"""YAML of plain data: texts, numbers, truth values, lists and mappings, and nothing that runs.

By YAML 1.2's core schema, where PyYAML knows 1.1: there ``no`` is false, ``010`` is 8, ``1:30`` is
90 and ``1e-3`` is a text. Keys that stand twice and references are refused, not resolved.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

MOST_BYTES = 4 << 20
"""Of a text that is read: pipelines have a few kilobytes."""


class YamlError(ValueError):
    """A text is no YAML of plain data; the message says where."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # without types
    """Reads the core schema alone."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            where = _where(event.start_mark)
            raise YamlError(f"*{event.anchor} {where} is an alias: write the value itself")
        if getattr(event, "tag", None) is not None:
            raise YamlError(f"{event.tag} {_where(event.start_mark)} is a tag: leave it out")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes what either schema would take for something else than a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML calls it
        return True


_TAG = "tag:yaml.org,2002:"
_SCALARS: dict[str, tuple[str, list[str]]] = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise YamlError(f"the key {_where(key_node.start_mark)} must be text or a number")
        if key in mapping:
            raise YamlError(f"the key {key!r} {_where(key_node.start_mark)} occurs twice")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_MAKERS: dict[str | None, Any] = {
    f"{_TAG}null": lambda _, node: None,  # noqa: ARG005
    f"{_TAG}bool": lambda _, node: node.value.lower() == "true",
    f"{_TAG}int": lambda _, node: int(node.value, 10),
    f"{_TAG}float": yaml.SafeLoader.construct_yaml_float,
    f"{_TAG}str": lambda _, node: node.value,
    f"{_TAG}seq": lambda loader, node: [loader.construct_object(n, deep=True) for n in node.value],
    f"{_TAG}map": _mapping,
}

_Loader.yaml_constructors.update(_MAKERS)
for _name, (_pattern, _first) in _SCALARS.items():
    _expression = re.compile(f"^(?:{_pattern})$")
    _Loader.add_implicit_resolver(_TAG + _name, _expression, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _expression, _first)


def loads(text: str) -> Any:
    """The data that a text says.

    Args:
        text: One document.

    Raises:
        YamlError: It is no such YAML; the message says in which line.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(f"the text has {len(text)} characters, but at most {MOST_BYTES} are read")
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        where = _where(error.problem_mark or error.context_mark)
        raise YamlError(f"{error.problem or error.context} {where}") from None
    except yaml.YAMLError as error:  # characters that no YAML may have
        raise YamlError(str(error).splitlines()[0]) from None
    except YamlError:
        raise
    except ValueError as error:  # a number of more digits than Python reads
        raise YamlError(str(error)) from None
    except RecursionError:
        raise YamlError("lists or mappings are nested too deeply") from None


def dumps(data: Any) -> str:
    """A text that says plain data, with lists of numbers in one line each."""
    text: str = yaml.dump(
        *(data, None, _Dumper),
        default_flow_style=None,
        sort_keys=False,
        allow_unicode=True,
        width=100,
    )
    return text


def _where(mark: Any) -> str:
    return f"in line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
