"""The examples of the README beside the interfaces."""

from __future__ import annotations

import re
from pathlib import Path

import flashschnet_lab.interfaces

README = Path(flashschnet_lab.interfaces.__file__).with_name("README.md")


def example(module: str) -> str:
    """Return the example of the README that imports a module."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = (block for block in blocks if module in block)
    return found
