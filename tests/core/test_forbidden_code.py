"""No module runs code from a file, and few know torch or the internals of xarray's indexes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

import pytest

from source_modules import MODULES, breaking, imports, parse, parse_as_run, report

BANNED_CALLS = {
    "eval",
    "exec",
    "extractall",
    "marshal.load",
    "marshal.loads",
    "np.load",
    "numpy.load",
    "pickle.load",
    "pickle.loads",
    "shelve.open",
    "torch.load",
    "yaml.load",
    "yaml.unsafe_load",
}
INDEX_INTERNALS = {"set_xindex", "drop_indexes", "xindexes", "from_xindex"}


def banned_calls(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "torch.load" and any(
                keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True"
                for keyword in node.keywords
            ):
                continue  # numbers alone
            if called in BANNED_CALLS or called.split(".")[-1] == "extractall":
                yield f"line {node.lineno}: {called}"


def index_contacts(nodes: Sequence[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr in INDEX_INTERNALS or text in ("xr.Index", "xarray.Index"):
                yield f"line {node.lineno}: {text}"
    yield from (
        dotted
        for dotted in imports(nodes)
        if dotted.startswith(("xarray.core", "xarray.indexes", "xarray.Index"))
        # What xarray's guide tells authors of backends to import.
        and not dotted.startswith("xarray.core.indexing")
    )


def test_nothing_runs_code_from_a_file() -> None:
    bad = breaking(lambda name: banned_calls(parse(name)), MODULES)
    assert not bad, report(bad)


# Tensors in RAM and on their way to a card, and what a loader of torch takes: classes and memory.
LOADED = {"batches", "datasets", "patch_loader", "iterable", "shared_batches", "subject_patches"}
WITH_TORCH = {
    "tensors.collate",
    "tensors.convert",
    "tensors.numpy_views",
    "tensors.pinned_buffers",
    "tensors.upload",
    *(f"patches.{name}" for name in LOADED),
    *(
        f"inference.{name}"
        for name in (
            "blending",
            "function_digest",
            "loading",
            "logit_checks",
            "model_files",
            "network",
            "predictions",
            "reduction",
        )
    ),
}


def torch_imports(name: str) -> Iterator[str]:
    return (dotted for dotted in imports(parse_as_run(name)) if dotted.split(".")[0] == "torch")


def test_torch_in_few_modules() -> None:
    bad = breaking(torch_imports, sorted(set(MODULES) - WITH_TORCH))
    assert not bad, report(bad)


def test_index_internals_in_one_module() -> None:
    others = sorted(set(MODULES) - {"xarray_index.affine_index"})
    bad = breaking(lambda name: index_contacts(parse(name)), others)
    assert not bad, report(bad)


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("import pickle\ndef f(b): return pickle.loads(b)", banned_calls),
        ("np.load('a', allow_pickle=True)", banned_calls),
        ("archive.extractall('.')", banned_calls),
        ("torch.load(path, weights_only=False)", banned_calls),
        ("array.set_xindex('x', Index)", index_contacts),
        ("from xarray.core.indexes import Index", index_contacts),
    ],
)
def test_rules_see_what_they_forbid(code: str, rule: object) -> None:
    assert list(rule(tuple(ast.walk(ast.parse(code)))))  # type: ignore[operator]
