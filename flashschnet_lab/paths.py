"""Where the package's own files are: in a checkout beside the code, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

from flashschnet_lab.errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def data_folder() -> Path:
    """Return the folder with the models, proteins and priors that come with the package.

    Raises:
        UserError: the installation lacks it.
    """
    return _find("data")


def notebooks_folder() -> Path:
    """Return the folder with the notebooks that come with the package.

    Raises:
        UserError: the installation lacks it.
    """
    return _find("notebooks")


def _find(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    if packaged.is_dir():
        return packaged
    checkout = _PACKAGE.parent
    # Without pyproject.toml the parent is site-packages, where "data" can belong to anybody.
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise UserError(
        f"this installation of flashschnet-lab has no {name} folder (looked for {packaged} and "
        f"{checkout / name}); install it again with pip."
    )
