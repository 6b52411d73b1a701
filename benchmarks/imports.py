"""How long a process takes that imports voxarray, or asks it about a file, against TorchIO.

python benchmarks/imports.py [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import volumes
from environments import OWN, python_of
from harness import save


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="runs of each command")
    rounds = parser.parse_args(arguments).rounds
    scan = volumes.scan(volumes.phantom("head", (182, 218, 182)))
    script = Path(sys.executable).with_name("voxarray")
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "import voxarray": [sys.executable, "-c", "import voxarray"],
        "voxarray info scan.nii.gz": [script, "info", scan],
        "import torchio (1.2.1)": [python_of("tio1"), "-c", "import torchio"],
        "import torchio (2.0.0a2)": [python_of("tio2"), "-c", "import torchio"],
    }
    runs: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if number:  # the first round fills the page cache and writes bytecode
                runs[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(times) for name, times in runs.items()}
    for name, median in seconds.items():
        print(f"  {name:<44}{median:9.3f} s", flush=True)
    save("imports", {"seconds": seconds}, (OWN, "tio1", "tio2"))


if __name__ == "__main__":
    main()
