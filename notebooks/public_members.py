"""Which module defines which public name, member, command and option, and which tests it has.

``python notebooks/public_members.py`` writes ``pages/public-members.md``. Names are read from the
package; ``tests/documentation/test_public_members.py`` says so if the page is an older one.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import voxarray as vx

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "voxarray"
PAGE = HERE / "pages" / "public-members.md"

RETURNED = (
    "cohort.mapped:Mapped",
    "cohort.run.result:CohortResult",
    "inference.evaluate:Evaluation",
    "inference.evaluate:LabelScores",
    "xarray_index.accessor:VoxAccessor",
    "xarray_index.backend:VoxarrayBackend",
)
"""Classes that users get from voxarray or from xarray, and do not call by a name in `vx`."""

TESTS = {
    "archive_object.py": "tests/archive/test_layers.py tests/storage/remote/test_bucket_layers.py",
    "cli/add_labels.py": "tests/archive/test_layers.py tests/cohort/test_stale_catalogues.py",
    "cli/catalogue.py": "tests/cohort/test_query.py test_log.py",
    "cli/clean.py": "tests/archive/test_cleaning.py tests/storage/remote/test_bucket_cleaning.py",
    "cli/completion.py": "tests/cli/test_completion_command.py",
    "cli/console.py": "tests/cli/test_command_line.py",
    "cli/convert.py": "tests/cli/test_convert_command.py test_command_line.py",
    "cli/demo.py": "tests/cli/test_command_line.py",
    "cli/evaluate.py": "tests/cli/test_evaluate_command.py",
    "cli/finalise.py": "tests/cohort/test_job_arrays.py test_build.py",
    "cli/history.py": "tests/cli/test_history_command.py",
    "cli/infer.py": "tests/inference/test_infer_cohorts.py test_layers_of_predictions.py",
    "cli/info.py": "tests/cli/test_info_command.py test_command_line.py",
    "cli/job_array.py": "tests/cohort/test_job_arrays.py",
    "cli/options.py": "tests/cli/test_command_line.py test_convert_command.py",
    "cli/plan.py": "tests/cohort/test_partitions.py test_census.py",
    "cli/preprocess.py": "tests/cohort/test_pipelines_over_cohorts.py test_mixed_pipelines.py",
    "cli/remove_labels.py": "tests/archive/test_layers.py tests/cohort/test_lost_additions.py",
    "cli/verify.py": "tests/cli/test_verify_command.py",
    "cohort/cohort.py": "tests/cohort/test_cohort.py test_query.py test_log.py",
    "cohort/convert.py": "tests/test_front_door.py tests/cohort/test_patterns.py",
    "cohort/mapped.py": "tests/cohort/test_cohort.py test_partitions.py test_mixed_pipelines.py",
    "cohort/run/result.py": "tests/cohort/test_build.py tests/rendering/test_html_tables.py",
    "cohort/verify_path.py": "tests/cohort/test_verify_below.py test_sources_of_copies.py",
    "core/errors.py": "tests/core/test_errors.py",
    "core/keys.py": "tests/image/test_image_construction.py",
    "core/memory.py": "tests/image/test_image_properties.py tests/core/test_memory.py",
    "formats/dicom/read.py": "tests/formats/dicom/test_dicom_series.py",
    "formats/record.py": "tests/formats/test_registry.py",
    "formats/registry.py": "tests/formats/test_registry.py",
    "geometry/grid.py": "tests/geometry/test_grid.py",
    "geometry/selection.py": "tests/geometry/test_selection.py",
    "image/_conversion.py": "tests/bridges/test_sitk.py test_nibabel.py test_torchio.py "
    "test_monai.py tests/image/test_upload.py",
    "image/_geometry.py": "tests/image/test_image_properties.py",
    "image/_guarded_dict.py": "tests/image/test_image_dict.py",
    "image/_plotting.py": "tests/rendering/test_plot.py test_hist.py test_lightbox.py "
    "test_gif_and_video.py test_view.py test_show.py test_neuroglancer.py",
    "image/_preprocessing.py": "tests/transforms/test_pad_crop_and_orient.py test_resampling.py",
    "image/_state.py": "tests/image/test_image_properties.py test_image_loading.py",
    "image/_statistics.py": "tests/statistics/test_statistics.py",
    "image/image.py": "tests/image/test_image_arrays.py test_image_files.py",
    "image/label_map.py": "tests/statistics/test_counts.py",
    "image/monai_reader.py": "tests/image/test_monai_reader.py",
    "image/scalar_image.py": "tests/transforms/test_intensity.py",
    "image/torchio_reader.py": "tests/image/test_torchio_reader.py",
    "inference/cohort_scores.py": "tests/cli/test_evaluate_command.py",
    "inference/evaluate.py": "tests/inference/test_evaluate.py",
    "inference/infer.py": "tests/inference/test_infer.py test_infer_cohorts.py test_models.py",
    "patches/adapters.py": "tests/patches/test_datasets.py",
    "patches/aggregator.py": "tests/patches/test_aggregator.py",
    "patches/datasets.py": "tests/patches/test_datasets.py",
    "patches/grid_sampler.py": "tests/patches/test_grid_sampler.py",
    "patches/iterable.py": "tests/patches/test_datasets.py",
    "patches/samplers.py": "tests/patches/test_samplers.py",
    "patches/subject_patches.py": "tests/patches/test_grid_sampler.py",
    "saving.py": "tests/test_front_door.py tests/saving/test_destinations.py",
    "source/base.py": "tests/formats/test_registry.py tests/core/test_given_paths.py",
    "statistics/summary.py": "tests/statistics/test_statistics.py",
    "subject/_plotting.py": "tests/rendering/test_plot.py test_view.py",
    "subject/subject.py": "tests/subject/test_subject.py",
    "testing/counting.py": "tests/testing/test_testing_kit.py",
    "testing/peak_memory.py": "tests/testing/test_testing_kit.py",
    "testing/sample.py": "tests/testing/test_testing_kit.py",
    "testing/synthetic.py": "tests/testing/test_testing_kit.py",
    "transforms/affine.py": "tests/transforms/test_resampling.py",
    "transforms/blur.py": "tests/transforms/test_intensity.py",
    "transforms/bounds.py": "tests/transforms/test_pad_crop_and_orient.py",
    "transforms/clamp.py": "tests/transforms/test_intensity.py",
    "transforms/compose.py": "tests/transforms/test_pipeline_files.py test_transform.py",
    "transforms/crop_or_pad.py": "tests/transforms/test_pad_crop_and_orient.py",
    "transforms/function.py": "tests/transforms/test_intensity.py",
    "transforms/histogram_standardization.py": "tests/transforms/test_intensity.py",
    "transforms/labels.py": "tests/transforms/test_labels.py",
    "transforms/mask.py": "tests/transforms/test_intensity.py",
    "transforms/normalization.py": "tests/transforms/test_intensity.py",
    "transforms/orientation.py": "tests/transforms/test_pad_crop_and_orient.py",
    "transforms/replaying.py": "tests/transforms/test_replay.py",
    "transforms/resample.py": "tests/transforms/test_resampling.py",
    "transforms/rescale_intensity.py": "tests/transforms/test_intensity.py",
    "transforms/transform.py": "tests/transforms/test_transform.py",
    "transforms/z_normalization.py": "tests/transforms/test_intensity.py",
    "xarray_index/accessor.py": "tests/xarray_index/test_accessor.py",
    "xarray_index/backend.py": "tests/xarray_index/test_backend.py",
}
"""By module, the files of tests to extend: an own folder first, then others of that folder."""

_HEADING = """# Where each public name is defined

For each module, the public names and members that it defines, or the options of the command line.
`python notebooks/public_members.py` writes this page.
[What a change touches](architecture.md#what-a-change-touches) names the other files that matter.
Paths are those in `src/voxarray`, or begin with `tests`; a file without a folder lies in the folder
that was named before it.

"""


def page() -> str:
    """The page in Markdown."""
    tables = (
        ("Python", "names and members", python_names()),
        ("Command line", "commands and options", command_names()),
    )
    return _HEADING + "\n".join(
        f"## {title}\n\n| module | {column} | tests |\n|---|---|---|\n{_rows(names)}"
        for title, column, names in tables
    )


def _rows(names: dict[str, dict[str, list[str]]]) -> str:
    lines = []
    for module, groups in sorted(names.items()):
        parts = [
            f"`{group}`" + (": " if members else "") + ", ".join(f"`{name}`" for name in members)
            for group, members in groups.items()
        ]
        lines.append(f"| `{module}` | {'; '.join(parts)} | {_tests(module)} |\n")
    return "".join(lines)


def _tests(module: str) -> str:
    return ", ".join(f"`{name}`" for name in TESTS.get(module, "").split())


def python_names() -> dict[str, dict[str, list[str]]]:
    """By module, the public names, each with its members that this module defines."""
    public = _public()
    labels = {value: name for name, value in public.items() if inspect.isclass(value)}
    names: dict[str, dict[str, set[str]]] = {}
    for name, value in public.items():
        home = getattr(value, "__module__", "voxarray.core.keys")  # constants
        names.setdefault(_file(home), {}).setdefault(name, set())
        if not inspect.isclass(value) or issubclass(value, Exception):
            continue
        parents = [parent for parent in value.__mro__[1:] if parent in labels]
        for base in value.__mro__:
            # A base that has no public name is told as the first public class that inherits it.
            if any(issubclass(parent, base) for parent in parents):
                continue
            if members := _members(base):
                groups = names.setdefault(_file(base.__module__), {})
                groups.setdefault(name, set()).update(members)
    return {
        module: {name: sorted(members) for name, members in groups.items()}
        for module, groups in names.items()
    }


def _public() -> dict[str, Any]:
    """Public names and what they mean."""
    found = {name: getattr(vx, name) for name in vx.__all__ if not name.startswith("_")}
    for package in ("transforms", "patches", "testing", "source"):
        inner = found.pop(package)
        prefix = f"{package}." if package in ("testing", "source") else ""
        found |= {f"{prefix}{name}": getattr(inner, name) for name in inner.__all__}
    for place in RETURNED:
        module, _, name = place.partition(":")
        label = ".vox" if name == "VoxAccessor" else name
        found[label] = getattr(importlib.import_module(f"voxarray.{module}"), name)
    return found


def _members(cls: type) -> set[str]:
    """Public members that a class of voxarray itself defines, and users call.

    What transforms only define for `Transform` to call is told there.
    """
    if not cls.__module__.startswith("voxarray"):
        return set()
    fields = inspect.get_annotations(cls) if dataclasses.is_dataclass(cls) else {}
    members = {name for name in (*vars(cls), *fields) if not name.startswith("_")}
    if issubclass(cls, vx.Transform) and cls is not vx.Transform:
        members -= set(dir(vx.Transform)) | {"normalised"}
    return members


def _file(module: str) -> str:
    path = SOURCE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.relative_to(SOURCE).as_posix()


def command_names() -> dict[str, dict[str, list[str]]]:
    """By module of the command line, the command that it is and the options that it defines."""
    from voxarray.cli.main import _COMMANDS

    names: dict[str, dict[str, list[str]]] = {}
    modules = {f"{command.replace('-', '_')}.py": command for command in _COMMANDS}
    for file in sorted((SOURCE / "cli").glob("*.py")):
        options = list(dict.fromkeys(_options(ast.parse(file.read_text("utf-8")))))
        command = modules.get(file.name)
        if command or options:
            label = f"voxarray {command}" if command else "options of several commands"
            names[f"cli/{file.name}"] = {label: options}
    return names


def _options(tree: ast.AST) -> Iterator[str]:
    """Names of options that calls such as ``click.option`` are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "option" in ast.unparse(node.func):
            for given in node.args:
                if isinstance(given, ast.Constant) and str(given.value).startswith("--"):
                    yield from str(given.value).split("/")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
