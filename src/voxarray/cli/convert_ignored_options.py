"""Options of ``voxarray convert``, by the names of parameters, that some conversions ignore."""

from __future__ import annotations

OF_COHORTS = {
    "workers": "--workers",
    "scheduler": "--scheduler",
    "partition": "--partition",
    "max_failures": "--max-failures",
    "retry": "--retry",
    "image_pattern": "--image-pattern",
    "label_pattern": "--label-pattern",
    "image_column": "--image-column",
    "label_column": "--label-column",
    "subject_column": "--subject-column",
    "keep_metadata": "--keep-metadata",
    "suffix": "--suffix",
    "query": "--query",
}
"""What has no effect on one image."""

OF_SOURCES = {
    name: OF_COHORTS[name]
    for name in (
        *("image_pattern", "label_pattern", "image_column", "label_column", "subject_column"),
        "keep_metadata",
    )
} | {"label": "--label"}
"""What a cohort as the source says itself."""

NOT_OF_FILES = {"retry": "--retry"}
"""What has no effect where files are made of a cohort, beside what `OF_ARCHIVES` has."""

OF_ARCHIVES = {"levels": "--levels", "chunk": "--chunk", "codec": "--codec", "zipped": "--zip"}
"""What has no effect on files."""
