"""Files with a table of filters: `filters-<class>.safetensors`.

One tensor, the coefficients, and text: knots, form, precision class, achieved error and what it was
verified on, the network's digest, the version that wrote it. Reading trusts nothing: a file that is
not this network's, or whose numbers are not its filters, is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.reference import expand
from flashschnet_kernels.filter_table.table import FORMS, FilterTable, exact_filters
from flashschnet_lab import __version__
from flashschnet_lab.potentials.schnet import SchNet
from flashschnet_lab.potentials.table_errors import filter_networks
from flashschnet_lab.potentials.tables import CompiledTable, class_of, forms_of

FORMAT = 2
"""Of the files; a higher one whenever tables are built in another way, so that none is kept."""
_TENSOR = "coefficients"
_LARGEST = 1 << 28
"""Bytes of a file beyond which it cannot be a table that was built here."""
_LOOKED_AT = 101
"""Distances at which a table that was read is compared with the network."""
_NEAR = 1e-2
"""Largest difference there, over the largest filter: far above what any class allows."""


class TableFileError(ValueError):
    """A file that is no table for this network; the message says why."""


def table_file(folder: Path, precision_class: str) -> Path:
    """Return where the table of a class lies in a folder."""
    return folder / f"filters-{precision_class}.safetensors"


def write_table(compiled: CompiledTable, path: Path) -> None:
    """Write a table; a file that is there is replaced at once, never half.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.torch import save

    table = compiled.table
    coefficients = table.coefficients.cpu().contiguous()
    text = {
        "format": FORMAT,
        "version": __version__,
        "precision_class": compiled.precision_class,
        "achieved_error": compiled.achieved_error,
        "verified_on": list(compiled.verified_on),
        "digest": compiled.digest,
        "form": table.form,
        "pieces": table.knots.pieces,
        "stretch": table.knots.stretch,
        "cutoff": table.knots.cutoff,
        "unit": list(table.unit),
        "sha256": _sha256(coefficients),
    }
    content = save({_TENSOR: coefficients}, {key: json.dumps(value) for key, value in text.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_table(path: Path, network: SchNet, digest: str, precision_class: str) -> CompiledTable:
    """Read a table that is one of this network.

    Args:
        path: of the file.
        network: whose filters the table must hold.
        digest: of the network.
        precision_class: that the table must be of.

    Raises:
        TableFileError: the file is damaged, of another format, network or class, or its numbers
            are not the network's filters.
    """
    text, coefficients = _content(path)
    if text["format"] != FORMAT:
        raise TableFileError(f"has format {text['format']}, not {FORMAT}")
    if text["digest"] != digest:
        raise TableFileError("was made for other weights")
    if text["precision_class"] != precision_class:
        raise TableFileError(f"is of the class {text['precision_class']!r}")
    try:
        knots = Knots(int(text["pieces"]), float(text["stretch"]), float(text["cutoff"]))
        unit = tuple(float(value) for value in text["unit"])
        table = FilterTable(knots, str(text["form"]), coefficients, unit)
        achieved = float(text["achieved_error"])
        names = tuple(str(name) for name in text["verified_on"])
    except (ValueError, TypeError) as error:
        raise TableFileError(f"describes no table ({error})") from error
    _check(table, achieved, network, precision_class, str(text["sha256"]))
    return CompiledTable(table, precision_class, achieved, names, digest)


def _content(path: Path) -> tuple[dict[str, Any], Tensor]:
    """Return what the file says and its tensor."""
    from safetensors import SafetensorError, safe_open

    keys = (
        *("format", "version", "precision_class", "achieved_error", "verified_on", "digest"),
        *("form", "pieces", "stretch", "cutoff", "unit", "sha256"),
    )
    try:
        if path.stat().st_size > _LARGEST:
            raise TableFileError("is too large to be a table of filters")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            text = {key: json.loads(metadata[key]) for key in keys}
            return text, file.get_tensor(_TENSOR).clone()
    except KeyError as error:
        raise TableFileError(f"lacks {error}") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, TableFileError):
            raise
        raise TableFileError(f"cannot be read ({error})") from error


def _check(
    table: FilterTable, achieved: float, network: SchNet, precision_class: str, sha256: str
) -> None:
    """Refuse a table that is not well formed, or does not hold the network's filters."""
    kind, shape, knots = class_of(precision_class), network.shape, table.knots
    forms = forms_of(kind)
    if table.form not in forms:
        raise TableFileError(f"has the form {table.form!r}, not {' or '.join(map(repr, forms))}")
    expected = (shape.blocks, knots.pieces + 1, FORMS[table.form], shape.channels)
    coefficients = table.coefficients
    if tuple(coefficients.shape) != expected or coefficients.dtype != torch.float32:
        raise TableFileError(
            f"holds {coefficients.dtype} {tuple(coefficients.shape)}, not float32 {expected}"
        )
    if knots.cutoff != shape.cutoff or len(table.unit) != shape.blocks:
        raise TableFileError("does not have the network's cutoff and blocks")
    if not 0.0 <= achieved <= kind.table_tolerance:
        raise TableFileError(f"has a force error of {achieved:g}")
    if _sha256(coefficients) != sha256:
        raise TableFileError("is damaged (SHA-256 differs)")
    if not bool(coefficients.isfinite().all()) or bool(coefficients[:, -1].any()):
        raise TableFileError("holds coefficients that no table has")
    r = torch.linspace(0.0, shape.cutoff, _LOOKED_AT, dtype=torch.float64)
    for block, weights in enumerate(filter_networks(network)):
        exact = exact_filters(weights)(r).cpu()
        if not bool((expand(r, table, block) - exact).abs().max() <= _NEAR * exact.abs().max()):
            raise TableFileError("does not hold the filters of this network")


def _sha256(coefficients: Tensor) -> str:
    return hashlib.sha256(coefficients.contiguous().numpy().tobytes()).hexdigest()
