"""What the compiled implementations of aggregation refuse."""

from __future__ import annotations

from torch import Tensor


def check_inputs(rows: Tensor, expected: int, name: str, of: str) -> None:
    """Refuse rows that do not belong to the edges, before a kernel reads beyond them.

    Raises:
        ValueError: `rows` is not [expected, channels].
    """
    if rows.dim() != 2 or rows.shape[0] != expected:
        raise ValueError(
            f"{name} must be [{expected}, channels], a row for each of the {of}, "
            f"not {tuple(rows.shape)}"
        )
