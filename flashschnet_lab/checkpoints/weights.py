"""From a state dict under our names to a network: its shape is read off the weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape

LARGEST_WEIGHT = 1 << 28


def network_from(
    state: dict[str, Tensor],
    path: Path,
    *,
    radial_basis: str,
    cutoff: float,
    cutoff_lower: float = 0.0,
    alpha: float | None = None,
) -> SchNet:
    """Return a network of these weights, in float32.

    Args:
        state: weights under our names.
        path: of the file, for errors.
        radial_basis: "exp_normal" or "gaussian".
        cutoff: in angstrom.
        cutoff_lower: the same.
        alpha: of the exp-normal basis, per angstrom, or None for the usual 5 / (cutoff - lower).

    Raises:
        UserError: weights are missing, do not fit each other, or are no finite numbers.
    """
    if alpha is not None and abs(alpha * (cutoff - cutoff_lower) / 5.0 - 1.0) < 1e-9:
        alpha = None
    try:
        shape = SchNetShape(
            types=len(state["embedding.weight"]),
            hidden=state["embedding.weight"].shape[1],
            channels=len(state["blocks.0.to_channels.weight"]),
            blocks=len({k.split(".")[1] for k in state if k.startswith("blocks.")}),
            radial_functions=len(state["radial_basis.centres"]),
            radial_basis=radial_basis,
            cutoff=cutoff,
            output_widths=_output_widths(state),
            cutoff_lower=cutoff_lower,
            alpha=alpha,
            filter_bias="blocks.0.filter_network.2.bias" in state,
            output_bias=f"output.{_last_output(state)}.bias" in state,
        )
        _check_sizes(shape, state)
        network = SchNet(shape)
        network.load_state_dict({k: v.detach().float() for k, v in state.items()})
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise UserError(f"the weights of {path} make no SchNet: {error}") from error
    broken = [k for k, v in network.state_dict().items() if not torch.isfinite(v).all()]
    if broken:
        raise UserError(f"{path} has weights that are no finite numbers: {', '.join(broken)}")
    return network.requires_grad_(False)


def _check_sizes(shape: SchNetShape, state: dict[str, Tensor]) -> None:
    """Refuse weights that do not fit each other before a network of their size is made."""
    if sum(tensor.numel() for tensor in state.values()) > LARGEST_WEIGHT:
        raise ValueError("there are too many weights")
    with torch.device("meta"):  # takes no memory
        expected = SchNet(shape).state_dict()
    if missing := sorted(expected.keys() ^ state.keys()):
        raise ValueError(f"{', '.join(missing[:5])} are missing, or too many")
    for name, tensor in expected.items():
        if tensor.shape != state[name].shape:
            raise ValueError(f"{name} is {list(state[name].shape)}, not {list(tensor.shape)}")


def is_rounded(state: dict[str, Tensor]) -> bool:
    """Tell whether float32 loses digits of any weight."""
    return any(not torch.equal(v.float().to(v.dtype), v) for v in state.values())


def describe(network: SchNet) -> str:
    """Return one line about a network."""
    shape = network.shape
    basis = {"exp_normal": "exp-normal", "gaussian": "Gaussian"}[shape.radial_basis]
    parts = [
        f"SchNet of {shape.blocks} blocks, {shape.hidden} features, {shape.channels} channels",
        f"{shape.radial_functions} {basis} functions",
        f"{shape.cutoff_lower:g} to {shape.cutoff:g} A",
        f"{shape.types} rows of the embedding",
        f"output {'-'.join(map(str, (shape.hidden, *shape.output_widths, 1)))}",
    ]
    if shape.alpha is not None:
        parts.insert(2, f"alpha {shape.alpha:g}/A")
    return ", ".join(parts)


def _last_output(state: dict[str, Tensor]) -> int:
    return max(int(k.split(".")[1]) for k in state if k.startswith("output."))


def _output_widths(state: dict[str, Tensor]) -> tuple[int, ...]:
    last = _last_output(state)
    return tuple(len(state[f"output.{number}.weight"]) for number in range(0, last, 2))
