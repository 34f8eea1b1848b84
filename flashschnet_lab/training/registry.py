"""The registry of the data folder: every file with SHA-256, origin and licence.

python -m flashschnet_lab.training.registry
"""

from __future__ import annotations

from pathlib import Path

from flashschnet_lab.checkpoints.native import TABLES, sha256_of
from flashschnet_lab.paths import data_folder

ORIGINS = {
    "models": "flashschnet distil and flashschnet validate, see the model card",
    "pictures": "flashschnet simulate",
    "priors": "python -m flashschnet_lab.training.fit_priors on structures of the PDB",
    "proteins": "python -m flashschnet_lab.training.embed on an entry of the PDB",
    "measurements": "flashschnet bench, or the command that the file names",
    "measurements/imported": "python -m tests.physics.chignolin_general",
}
"""By the folder; the longest that fits."""
LICENCE = "MIT"
UNLISTED = ("README.md", "registry.toml")


def registry_text(folder: Path) -> str:
    """Return the registry of a data folder as TOML, files in alphabetical order."""
    lines = ["# Written by python -m flashschnet_lab.training.registry; see README.md.", ""]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in UNLISTED and not path.match(TABLES):
            lines += [
                "[[file]]",
                f'path = "{name}"',
                f'sha256 = "{sha256_of(path)}"',
                f'origin = "{ORIGINS[max(filter(name.startswith, ORIGINS), key=len)]}"',
                f'licence = "{LICENCE}"',
                "",
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    (data_folder() / "registry.toml").write_text(registry_text(data_folder()), encoding="utf-8")
