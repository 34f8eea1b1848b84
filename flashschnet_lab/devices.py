"""Which device computes."""

from __future__ import annotations

import torch

from flashschnet_lab.errors import UserError


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or the GPU if there is one, or the CPU.

    Raises:
        UserError: a device that is not there.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device!r} is unknown; use cpu or cuda") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but PyTorch sees no GPU; use --device cpu")
    return resolved
