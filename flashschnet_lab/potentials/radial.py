"""Radial bases as modules: which functions of a distance the filter network sees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flashschnet_kernels.radial_basis.parameters import RadialParameters
from flashschnet_kernels.radial_basis.reference import radial_basis


class GaussianBasis(nn.Module):
    """C(r) exp(-(r - centre)^2 / (2 spacing^2)), centres evenly spaced from lower to upper cutoff.

    Args:
        cutoff: in angstrom.
        functions: number of basis functions, at least 2.
        lower: the lower cutoff in angstrom.

    Source: Schuett et al., SchNet, J. Chem. Phys. 148, 241722 (2018).
    """

    centres: Tensor
    coefficient: Tensor

    def __init__(self, cutoff: float, functions: int, lower: float = 0.0) -> None:
        super().__init__()
        self.cutoff, self.lower = cutoff, lower
        coefficient = -0.5 / ((cutoff - lower) / (functions - 1)) ** 2
        self.register_buffer("centres", torch.linspace(lower, cutoff, functions))
        self.register_buffer("coefficient", torch.tensor(coefficient))

    def numbers(self) -> RadialParameters:
        """Return what a fused operator needs to know."""
        widths = (-self.coefficient).expand(len(self.centres))
        return RadialParameters("gaussian", self.centres, widths, 0.0, self.cutoff, self.lower)

    def forward(self, r_ij: Tensor) -> Tensor:
        """Expand distances [pairs] in angstrom to [pairs, functions]."""
        return radial_basis(r_ij, self.numbers())


class ExpNormalBasis(nn.Module):
    """C(r) exp(-beta (exp(alpha (lower - r)) - centre)^2), alpha = 5 / (cutoff - lower).

    Centres are evenly spaced from start = exp(lower - cutoff) to 1 and every beta starts at
    (2 / functions (1 - start))^-2. Dense where beads are close, wide where they are far.

    Args:
        cutoff: in angstrom.
        functions: number of basis functions, at least 2.
        lower: the lower cutoff in angstrom.
        alpha: per angstrom, where it is another one.

    Source: Unke and Meuwly, PhysNet, J. Chem. Theory Comput. 15, 3678 (2019).
    """

    centres: Tensor
    betas: Tensor

    def __init__(
        self, cutoff: float, functions: int, lower: float = 0.0, alpha: float | None = None
    ) -> None:
        super().__init__()
        self.cutoff, self.lower = cutoff, lower
        self.alpha = 5.0 / (cutoff - lower) if alpha is None else alpha
        start = math.exp(lower - cutoff)
        beta = (2.0 / functions * (1.0 - start)) ** -2
        self.register_buffer("centres", torch.linspace(start, 1.0, functions))
        self.register_buffer("betas", torch.full((functions,), beta))

    def numbers(self) -> RadialParameters:
        """Return what a fused operator needs to know."""
        return RadialParameters(
            "exp_normal", self.centres, self.betas, self.alpha, self.cutoff, self.lower
        )

    def forward(self, r_ij: Tensor) -> Tensor:
        """Expand distances [pairs] in angstrom to [pairs, functions]."""
        return radial_basis(r_ij, self.numbers())


RADIAL_BASES: dict[str, type[GaussianBasis] | type[ExpNormalBasis]] = {
    "gaussian": GaussianBasis,
    "exp_normal": ExpNormalBasis,
}
