"""All suites at their default sizes, then promises, plots and tables: what ``make bench`` runs.

python benchmarks/run.py [--large] [--trial] [--only SCRIPT ...]

Each script is a process of its own, and each suite saves its own results, so that one that fails
takes nothing with it: the others run, what is there is shown, and the end names those that failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from harness import HERE

SUITES: dict[str, Sequence[str]] = {
    "interoperability": ("--trial",),
    "convert": ("--size", "64", "--rounds", "1"),
    "patches": ("--size", "64", "--patch", "16", "--rounds", "1"),
    "formats": ("--size", "64", "--patch", "16", "--rounds", "1", "--slices", "20"),
    "loading": ("--size", "64", "--patch", "16", "--rounds", "1"),
    "imports": ("--rounds", "1"),
    "statistics_of_archives": ("--size", "64", "--rounds", "1"),
    "preprocess": ("--sizes", "64", "--rounds", "1"),
    "cohort": ("--size", "48", "--scans", "3"),
    "scaling": ("--largest", "0.25", "--most", "10"),
    "simulation": ("--images", "1000"),
}
"""What measures, in this order, and the arguments that make a trial of each."""

SHOWN = {"promises": ("--trial",), "plots": ("--trial",), "table": ("--trial",)}
"""What shows the results that are there."""

LARGE = ("convert", "preprocess")


def main() -> None:
    scripts = SUITES | SHOWN
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also scans of 4 GiB")
    parser.add_argument(
        "--trial", action="store_true", help="tiny sizes; all that it writes is in .bench/trials"
    )
    parser.add_argument("--only", nargs="+", choices=scripts, default=scripts, metavar="SCRIPT")
    options = parser.parse_args()
    lines, failed = [], []
    for script in options.only:
        arguments = [*scripts[script]] if options.trial else []
        if options.large and script in LARGE:
            arguments.append("--large")
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
