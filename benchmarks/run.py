"""All suites at their default sizes, then the table in the README: what ``make bench`` runs.

python benchmarks/run.py [--large]
"""

from __future__ import annotations

import argparse

import cohort
import convert
import formats
import imports
import loading
import patches
import plots
import preprocess
import promises
import scaling
import simulation
import statistics_of_archives
import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="also a scan of 4 GiB")
    large = ["--large"] if parser.parse_args().large else []
    convert.main(large)
    patches.main([])
    formats.main([])
    loading.main([])
    imports.main([])
    statistics_of_archives.main([])
    preprocess.main(large)
    cohort.main([])
    scaling.main([])
    simulation.main([])
    promises.main()
    plots.main()
    table.main()


if __name__ == "__main__":
    main()
