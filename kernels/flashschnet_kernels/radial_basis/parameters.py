"""The numbers of a radial basis, as every implementation takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges


@dataclass(frozen=True)
class RadialParameters:
    """rbf_f(r) = C(r) exp(-widths_f (u(r) - centres_f)^2), with C the cosine envelope.

    u(r) = r for the Gaussian basis, exp(alpha (lower - r)) for the exp-normal one. With a lower
    cutoff beads closer than it are no neighbours; C is then still the envelope that begins at 1 in
    r = 0, and the filter has one of its own, `reference.filter_envelope`.

    Attributes:
        kind: "gaussian" or "exp_normal".
        centres: [functions], in the unit of u.
        widths: [functions], positive, per square unit of u.
        alpha: per angstrom; not used by the Gaussian basis.
        cutoff: in angstrom.
        lower: the lower cutoff in angstrom, below the cutoff; 0 is none.
    """

    kind: str
    centres: Tensor
    widths: Tensor
    alpha: float
    cutoff: float
    lower: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("gaussian", "exp_normal"):
            raise ValueError(f"radial basis {self.kind!r} is unknown; known: gaussian, exp_normal")
        if self.centres.shape != self.widths.shape or self.centres.dim() != 1:
            raise ValueError(
                f"centres {tuple(self.centres.shape)} and widths {tuple(self.widths.shape)} must "
                "be vectors of one length"
            )
        if not 0.0 <= self.lower < self.cutoff:
            raise ValueError(
                f"a lower cutoff of {self.lower} A must lie between 0 and the cutoff, {self.cutoff}"
            )


def check_inputs(
    positions: Tensor,
    receiver: Tensor,
    sender: Tensor,
    basis: RadialParameters,
    edges: Edges | None,
) -> None:
    """Refuse what the fused implementations cannot compute, before they read it.

    Raises:
        RuntimeError: centres or widths that require a gradient.
        TypeError: a dtype that is not supported.
        ValueError: shapes that do not belong together.
    """
    if basis.centres.requires_grad or basis.widths.requires_grad:
        raise RuntimeError(
            "the fused radial basis differentiates with respect to positions only, but its centres "
            'or widths require a gradient; train with the plan radial_basis="reference"'
        )
    if positions.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"positions must be float32 or float64, not {positions.dtype}")
    if basis.centres.dtype != positions.dtype or basis.widths.dtype != positions.dtype:
        raise TypeError(
            f"centres ({basis.centres.dtype}) and widths ({basis.widths.dtype}) must have the "
            f"dtype of the positions ({positions.dtype})"
        )
    if positions.dim() != 2 or positions.shape[1] != 3:
        raise ValueError(f"positions must be [beads, 3], not {tuple(positions.shape)}")
    if receiver.shape != sender.shape or receiver.dim() != 1:
        raise ValueError(
            f"receiver {tuple(receiver.shape)} and sender {tuple(sender.shape)} must be vectors of "
            "one length"
        )
    if edges is not None and (
        edges.receiver.shape != receiver.shape or edges.beads != positions.shape[0]
    ):
        raise ValueError(
            f"edges has {edges.receiver.shape[0]} edges of {edges.beads} beads, the input "
            f"{receiver.shape[0]} of {positions.shape[0]}"
        )
