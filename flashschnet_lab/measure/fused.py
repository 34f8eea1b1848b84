"""IO model of the operators that are fused one by one; the convolution has models of its own."""

from __future__ import annotations

from flashschnet_lab.measure.stages import INDEX, Moves, Sizes, Stage, elementwise, gather
from flashschnet_lab.potentials.schnet import SchNetShape


def verlet_check(sizes: Sizes, word: int) -> Stage:
    """Compare displacements with half the skin; the list itself stays from step to step."""
    return Stage("neighbors", elementwise(sizes.all_beads, word, (6, 1), (1, 0)))


def radial_basis(shape: SchNetShape, sizes: Sizes, links: float, word: int) -> tuple[Stage, Stage]:
    """Basis of every link in one pass, and back in one pass; distances and envelope are kept."""
    f, positions = shape.radial_functions, (sizes.all_beads, 3)
    forward = gather(links, word, positions) + Moves(read=INDEX * links)
    forward = Moves(forward.read, word * links * (f + 2), 12.0 * links * f)
    backward = Moves(
        forward.read + INDEX * 2 * links + word * links * (f + 5),  # sender and opposite; slopes
        word * (links + 3 * sizes.all_beads),
        20.0 * links * f,
    )
    kept = word * links * (f + 2)
    return (
        Stage("radial basis", forward, kept=kept, extra=kept),
        Stage("radial basis, backward", backward, kept=-kept, extra=word * links),
    )
