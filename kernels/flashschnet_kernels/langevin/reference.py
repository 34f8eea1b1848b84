"""Counter-based Gaussian noise (Philox4x32-10 and Box-Muller), in plain PyTorch (the definition).

A number is a pure function of (seed, replica, step, bead, component). Nothing is carried from step
to step, so a replica draws the same noise alone, in any batch, and after any restart.
Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11 (2011).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Return four words of 32 random bits (in int64) for every counter, ten rounds.

    Args:
        counter: four broadcastable int64 tensors with values below 2^32.
        key: two numbers below 2^32.
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = key
    for _ in range(10):
        # Products below 2^64 wrap in int64; shifting and masking still yields their exact words.
        product_0, product_1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product_1 >> 32) & _MASK) ^ c1 ^ k0,
            product_1 & _MASK,
            ((product_0 >> 32) & _MASK) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1, c2, c3]


def gaussian_noise(
    seed: int, replicas: Tensor, first_step: int, steps: int, beads: int, dtype: torch.dtype
) -> Tensor:
    """Return standard normal numbers [steps, replicas, beads, 3].

    Args:
        seed: any integer from 0 to 2^64 - 1; it is the key of the generator.
        replicas: [replicas] int64 below 2^32, the stream of each row, on the device of the result.
        first_step: step of the first slice; slice t belongs to step `first_step + t`.
        steps: number of slices.
        beads: beads of one replica.
        dtype: float32 or float64; both are made from the same bits.
    """
    device = replicas.device
    step = first_step + torch.arange(steps, device=device)[:, None, None]
    bead = torch.arange(beads, device=device)
    counter = (bead, replicas[None, :, None], step & _MASK, step >> 32)
    words = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    u0, u1, u2, u3 = (word.to(dtype).add_(0.5).mul_(2.0**-32) for word in words)
    # float32 may round the largest u to exactly 1; log(1) = 0 is harmless, log(0) cannot happen.
    radius_a, radius_b = torch.sqrt(-2.0 * torch.log(u0)), torch.sqrt(-2.0 * torch.log(u2))
    angle_a, angle_b = 2.0 * math.pi * u1, 2.0 * math.pi * u3
    components = (
        radius_a * torch.cos(angle_a),
        radius_a * torch.sin(angle_a),
        radius_b * torch.cos(angle_b),
    )
    return torch.stack(components, dim=-1)  # [steps, replicas, beads, 3]
