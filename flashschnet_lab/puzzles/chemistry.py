"""Small molecules and small networks for the puzzles, the same on every run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flashschnet_kernels.edges import Edges, edges_from_pairs
from flashschnet_kernels.message_passing.filter_network import FilterNetwork
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.radial_basis.parameters import RadialParameters

CUTOFF = 10.0  # angstrom
REACH = 11.0
"""Lists hold pairs up to here, as a list with a skin does: some lie beyond the cutoff."""
BOND = 3.8  # angstrom, between successive C-alpha atoms


def chain(beads: int, seed: int, bond: float = BOND, spread: float = 6.0) -> Tensor:
    """Return positions [beads, 3] of a crumpled chain, float32, angstrom."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(beads, 3, generator=generator)
    steps *= bond / steps.norm(dim=1, keepdim=True)
    walk = steps.cumsum(0)
    walk -= walk.mean(0)
    radius = walk.norm(dim=1, keepdim=True)
    return walk * (spread / (spread + 0.3 * radius))  # far parts are drawn in, as in a globule


def molecules(count: int, beads: int, device: torch.device) -> Tensor:
    """Return positions [count * beads, 3] of molecules laid end to end, on a device."""
    spread = 2.0 * beads ** (1 / 3)
    return torch.cat([chain(beads, seed, spread=spread) for seed in range(count)]).to(device)


def edges_within(positions: Tensor, sizes: tuple[int, ...] | None = None) -> Edges:
    """Return both directions of every pair closer than `REACH`, int32."""
    pairs = pairs_within(positions, sizes or (len(positions),), REACH)
    edges = edges_from_pairs(pairs, len(positions))
    return Edges(*(part.int() for part in vars(edges).values()))


def random(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """Return normal numbers, float32."""
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def basis(functions: int) -> dict[str, Any]:
    """Return centres, width and cutoff of a Gaussian basis, by the names of the puzzles."""
    centres = torch.linspace(0.0, CUTOFF, functions)
    spacing = CUTOFF / max(1, functions - 1)
    return {"centres": centres, "width": 0.5 / spacing**2, "cutoff": CUTOFF}


def filter_weights(functions: int, channels: int) -> dict[str, Tensor]:
    """Return the two layers of a filter network."""
    return {
        "first_weight": random(channels, functions, seed=1, scale=functions**-0.5),
        "first_bias": random(channels, seed=2, scale=0.3),
        "second_weight": random(channels, channels, seed=3, scale=channels**-0.5),
    }


def filter_network(inputs: Any) -> FilterNetwork:
    """Return the filter network of a puzzle's inputs as our kernels take it."""
    widths = torch.full_like(inputs["centres"], inputs["width"])
    parameters = RadialParameters("gaussian", inputs["centres"], widths, 0.0, inputs["cutoff"])
    return FilterNetwork(
        inputs["first_weight"], inputs["first_bias"], inputs["second_weight"], parameters
    )


def double(inputs: Any) -> dict[str, Any]:
    """Return inputs with every floating-point tensor in float64."""
    return {
        name: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
    }
