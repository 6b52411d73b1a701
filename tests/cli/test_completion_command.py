"""``voxarray completion``: what it prints completes commands in each shell."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from voxarray.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_a_shell(shell):
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_VOXARRAY_COMPLETE" in done.output
    completed = CliRunner().invoke(
        main,
        prog_name="voxarray",
        env={
            "_VOXARRAY_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": "voxarray comp",
            "COMP_CWORD": "1" if shell != "fish" else "comp",
        },
    )
    assert "completion" in completed.output
