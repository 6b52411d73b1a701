"""All suites at their default sizes, then promises, plots and tables: what ``make bench`` runs.

python benchmarks/run.py [--trial] [--only SUITE ...]

Each script is a process of its own, and each suite saves its own results, so that one that fails
takes nothing with it: the others run, what is there is shown, and the end names those that failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from harness import HERE


class Arguments(NamedTuple):
    """Of a script: in full, and for a trial."""

    full: Sequence[str]
    trial: Sequence[str]


SUITES = {
    "interoperability": Arguments((), ("--trial",)),
    "convert": Arguments(("--large",), ("--size", "64", "--rounds", "1")),
    "patches": Arguments((), ("--size", "64", "--patch", "16", "--rounds", "1")),
    "formats": Arguments((), ("--size", "64", "--patch", "16", "--rounds", "1", "--slices", "20")),
    "loading": Arguments((), ("--size", "64", "--patch", "16", "--rounds", "1")),
    "imports": Arguments((), ("--rounds", "1")),
    "statistics_of_archives": Arguments((), ("--size", "64", "--rounds", "1")),
    "preprocess": Arguments(("--large",), ("--sizes", "64", "--rounds", "1")),
    "remote": Arguments((), ("--size", "128", "--rounds", "1", "--delays", "1")),
    "remote_patches": Arguments((), ("--size", "64", "--patch", "16", "--rounds", "1")),
    "streams": Arguments((), ("--shape", "64", "64", "48", "--rounds", "1")),
    "resampling": Arguments((), ("--size", "48", "--rounds", "1")),
    "small_scans": Arguments((), ("--shape", "16", "16", "16", "--rounds", "1", "--scans", "3")),
    "compressed_patches": Arguments((), ("--edge", "128", "--rounds", "1", "--loaded", "40")),
    "archive_codecs": Arguments((), ("--size", "32", "--rounds", "1")),
    "pipelines": Arguments((), ("--size", "72", "--rounds", "1")),
    "cohort": Arguments((), ("--size", "48", "--scans", "3")),
    "scaling": Arguments((), ("--largest", "0.25", "--most", "10")),
    "simulation": Arguments((), ("--images", "1000")),
}
"""What measures, in this order."""

SHOWING = dict.fromkeys(("promises", "plots", "table"), Arguments((), ("--trial",)))
"""What shows the results that are there."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trial", action="store_true", help="tiny sizes; all that it writes is in .bench"
    )
    parser.add_argument("--only", nargs="+", choices=SUITES, default=SUITES, metavar="SUITE")
    options = parser.parse_args()
    lines, failed = [], []
    for script in (*options.only, *SHOWING):
        arguments_of = (SUITES | SHOWING)[script]
        arguments = arguments_of.trial if options.trial else arguments_of.full
        print(f"== {' '.join([script, *arguments])}", flush=True)
        began = time.perf_counter()
        code = subprocess.run([sys.executable, HERE / f"{script}.py", *arguments]).returncode
        minutes = (time.perf_counter() - began) / 60
        lines.append(f"  {script:<44}{minutes:9.1f} min{f'  FAILED with {code}' if code else ''}")
        failed += [script] if code else []
    print("== all", *lines, sep="\n")
    if failed:
        sys.exit(f"failed, so that an earlier run's results stand: {', '.join(failed)}")


if __name__ == "__main__":
    main()
