"""The command line, run inside the test's own process."""

from __future__ import annotations

import pytest

from flashschnet_lab.cli import main


def run(*arguments: object) -> int:
    """Run `flashschnet ARGUMENTS` and return its exit code."""
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    return exit_.value.code or 0
