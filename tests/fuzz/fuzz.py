"""Coverage-guided attacks on the readers, with atheris: ``python tests/fuzz/fuzz.py nrrd ...``.

One process per reader, for some minutes each (``--minutes``). It begins with a small valid file and
keeps whatever reaches new code. Only refusals of ours may come out, soon and cheaply
(`lying_headers.attempt`); what else does is kept beside the corpus, and the exit code says so.
`make fuzz` runs all of them.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "sources")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["voxarray"]):
    from lying_headers import SAMPLES, WORDS, Attack, packed, unpacked

    # Readers are imported when they are needed: now, for what is imported later is not followed.
    import voxarray.archive
    import voxarray.sources

    for package in (voxarray.archive, voxarray.sources):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)

LONGEST_INPUT = 1 << 16


def attack(name: str, corpus: Path, seconds: int) -> None:
    """Fuzz one reader in this process, which ends with it."""
    # Many small writes: memory, where the system has a folder in it.
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        target = Attack(name, Path(folder))
        corpus.mkdir(parents=True, exist_ok=True)
        valid = unpacked(target.sample, target.data)
        (corpus / "valid").write_bytes(valid)
        words = corpus.with_suffix(".words")
        words.write_text("".join(f'"{entry(word)}"\n' for word in dictionary(valid)))

        def once(data: bytes) -> None:
            target(packed(target.sample, data))

        arguments = [
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST_INPUT}",
            f"-dict={words}",
            "-timeout=10",
            "-verbosity=0",
            "-rss_limit_mb=3072",
            f"-artifact_prefix={corpus}-",
            "-print_final_stats=1",
            str(corpus),
        ]
        atheris.Setup([sys.argv[0], *arguments], once)
        atheris.Fuzz()


def dictionary(valid: bytes) -> list[bytes]:
    """Words to try: those of the valid file, and those that lie best."""
    found = re.findall(rb"[A-Za-z][A-Za-z0-9_ ]{2,30}", valid[:4096])
    return sorted({*found, *WORDS} - {b""})


def entry(word: bytes) -> str:
    """A word as libFuzzer reads it."""
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", choices=[*SAMPLES, []], help="all, if none is named")
    parser.add_argument("--minutes", type=float, default=20.0, help="for each reader")
    parser.add_argument("--corpus", type=Path, default=TESTS.parent / ".fuzz")
    parser.add_argument("--here", action="store_true", help="in this process; one reader")
    given = parser.parse_args()
    readers = given.readers or list(SAMPLES)
    if given.here:
        attack(readers[0], given.corpus / readers[0], int(given.minutes * 60))
        return 0
    failed = []
    for name in readers:
        command = [sys.executable, __file__, name, "--here", "--corpus", str(given.corpus)]
        done = subprocess.run([*command, "--minutes", str(given.minutes)], check=False)
        if done.returncode:
            failed.append(name)
        print(f"{name}: {'FAILED' if done.returncode else 'held'}, {given.minutes:g} minutes")
    if failed:
        print(f"found something in {', '.join(failed)}: see {given.corpus}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
