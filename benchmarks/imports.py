"""How long a process takes that imports voxarray, or asks it about a file, against TorchIO.

python benchmarks/imports.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import volumes
from environments import OWN, python_of
from harness import left_out, save
from timing import medians, report

ROUNDS = 9


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each command")
    rounds = parser.parse_args(arguments).rounds
    scan = volumes.scan(volumes.phantom("head", (182, 218, 182)))
    script = Path(sys.executable).with_name("voxarray")
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "import voxarray": [sys.executable, "-c", "import voxarray"],
        "voxarray info scan.nii.gz": [script, "info", scan],
    }
    for environment, version in (("tio1", "1.2.1"), ("tio2", "2.0.0a2")):
        with left_out(f"TorchIO {version}"):
            python = python_of(environment)
            commands[f"import torchio ({version})"] = [python, "-c", "import torchio"]
    contenders = {name: _process(command) for name, command in commands.items()}
    medians(contenders, 1)  # fills the page cache and writes bytecode
    seconds = report(medians(contenders, rounds), "s")
    save("imports", {"seconds": seconds}, (OWN, "tio1", "tio2"), trial=rounds != ROUNDS)


def _process(command: Sequence[str | Path]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
