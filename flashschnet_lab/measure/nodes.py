"""IO model of what has a row per bead or per classical term: node layers, priors, integrator."""

from __future__ import annotations

from itertools import pairwise

from flashschnet_lab.measure.stages import (
    FUSED,
    INDEX,
    Moves,
    Sizes,
    Stage,
    choice,
    elementwise,
    linear,
    linear_backward,
)
from flashschnet_lab.potentials.schnet import SchNetShape

_PRIOR_WORDS = {
    "bonds": ((27, 15), (44, 33), 5),
    "angles": ((56, 31), (112, 73), 13),
    "dihedrals": ((109, 60), (211, 137), 32),
    "repulsion": ((23, 18), (39, 21), 5),
    "contacts": ((23, 18), (39, 21), 5),
}
"""Words (read, written) per term of the reference, forward and backward, and words kept between.

An index is two words, and so is a number that is summed in float64.
"""
_PLACE_BYTES = 300
"""Bytes per bead of the tables that say which terms a bead takes part in."""
_PRIOR_BEADS = {"bonds": 2, "angles": 3, "dihedrals": 4, "repulsion": 2, "contacts": 2}
_PRIOR_VALUES = {"bonds": 2, "angles": 2, "dihedrals": 7, "repulsion": 1, "contacts": 2}

_STEP_WORDS = (105, 71)
"""Words (read, written) per bead of a Langevin step and its guard, without forces and noise."""
_NOISE_WORDS = (308, 269)
"""Words (read, written) per bead of the reference's random numbers; its counters are int64."""
_NOISE_NUMBERS_PER_BLOCK = 1 << 20
_NOISE_KEPT = 3 + 3 + 3
_NOISE_EXTRA = 26


def node_layers(
    shape: SchNetShape, sizes: Sizes, plan: object, word: int, number: int
) -> list[Stage]:
    """Features to channels before the messages, and the update after them."""
    h, c, beads = shape.hidden, shape.channels, sizes.all_beads
    update = linear(beads, word, c, h, plan, bias=True)
    update += linear(beads, word, h, h, plan, bias=True)
    update += elementwise(beads, word, (h, h), (2 * h, h))  # tanh, add
    label = f"block {number} "
    row = word * beads
    new = c if number else c + h  # the embedding
    gone = c if choice(plan, "message_passing") in FUSED else 2 * c
    return [
        Stage(label + "to channels", linear(beads, word, h, c, plan), row * new, row * new),
        # Messages go, and features unless the convolution keeps them; what tanh gave stays.
        Stage(label + "update", update, kept=row * (h - gone), extra=row * 3 * h),
    ]


def node_layers_backward(
    shape: SchNetShape, sizes: Sizes, plan: object, word: int, number: int
) -> list[Stage]:
    """The update backward before the messages, and channels to features after them."""
    h, c, beads = shape.hidden, shape.channels, sizes.all_beads
    update = linear_backward(beads, word, h, h, plan)
    update += linear_backward(beads, word, c, h, plan)
    update += elementwise(beads, word, (2 * h, h))
    label, row = f"block {number} ", word * beads
    # What tanh gave goes, and the gradient of x with its last user; that of the messages stays.
    kept = row * (c - h if number else c - 2 * h)
    stages = [Stage(label + "update, backward", update, kept, extra=row * 2 * h)]
    if number:
        back = linear_backward(beads, word, h, c, plan)
        back += elementwise(beads, word, (2 * h, h))
        stages.append(Stage(label + "to channels, backward", back, -row * c, extra=row * 2 * h))
    return stages


def output(shape: SchNetShape, sizes: Sizes, plan: object, word: int) -> list[Stage]:
    """Features to energies, forward and backward."""
    beads, widths = sizes.all_beads, (shape.hidden, *shape.output_widths)
    forward, backward = Moves(), linear_backward(beads, word, widths[-1], 1, plan)
    for narrow, wide in pairwise(widths):
        forward += linear(beads, word, narrow, wide, plan, bias=True)
        forward += elementwise(beads, word, (wide, wide))
        backward += linear_backward(beads, word, narrow, wide, plan)
        backward += elementwise(beads, word, (2 * wide, wide))
    forward += linear(beads, word, widths[-1], 1, plan, bias=shape.output_bias)
    forward += elementwise(beads, word, (1, 2), (2, 0))
    kept, x = word * beads * sum(shape.output_widths), word * beads * shape.hidden
    return [
        Stage("output", forward, kept=kept - x, extra=kept),
        Stage("output, backward", backward, kept=x - kept, extra=2 * x),
    ]


def priors(sizes: Sizes, plan: object, word: int) -> tuple[Stage, Stage]:
    """The classical terms, forward and backward; the repulsion in one pass if the plan says so.

    With fused bead work there is no autograd, and so all terms and their gradient are one pass.
    """
    if choice(plan, "nodes") != "reference" and choice(plan, "priors") != "reference":
        return _priors_in_one(sizes, word), Stage("priors, backward", Moves())
    counts = {f: sizes.replicas * getattr(sizes, f) for f in _PRIOR_WORDS}
    kept, extra, forward, backward = 0.0, 0.0, Moves(), Moves()
    if choice(plan, "priors") != "reference" and counts["repulsion"]:
        counts["repulsion"] = 0
        gradient = word * 3 * sizes.all_beads
        kept, extra = gradient, 3 * word * sizes.all_beads
        read = gradient + word * sizes.beads**2  # ranges, which all replicas share
        forward = Moves(
            read, gradient + word * sizes.all_beads, 22.0 * sizes.all_beads * sizes.beads
        )
        backward = elementwise(sizes.all_beads, word, (2 + INDEX / word, 1), (4, 3))
    kept += sum(word * n * _PRIOR_WORDS[f][2] for f, n in counts.items())
    for family, n in counts.items():
        forward += elementwise(n, word, _PRIOR_WORDS[family][0])
        backward += elementwise(n, word, _PRIOR_WORDS[family][1])
    return (
        Stage("priors", forward, kept=kept, extra=kept + extra + 2 * word * counts["repulsion"]),
        Stage("priors, backward", backward, kept=-kept, extra=kept),
    )


def _priors_in_one(sizes: Sizes, word: int) -> Stage:
    """Energy and gradient of all terms, added to what the network gave; tables are per kind."""
    beads, terms = sizes.all_beads, sizes.replicas * (sizes.bonds + sizes.angles + sizes.dihedrals)
    if not terms and not sizes.repulsion:
        return Stage("priors", Moves())
    pairs = sizes.replicas * sizes.beads**2 if sizes.repulsion else 0
    moves = elementwise(beads, word, (3 + 4, 4)) + Moves(read=_PLACE_BYTES * sizes.beads)
    return Stage("priors", moves + Moves(flops=22.0 * pairs + 150.0 * terms))


def integrator(sizes: Sizes, plan: object, word: int) -> Stage:
    """One Langevin step without its forces: kicks, drifts, noise (spread over its block), guard."""
    beads = sizes.all_beads
    if choice(plan, "langevin") != "reference":
        # First the new positions and velocities, then, with the new forces, the new state.
        return Stage("integrator", elementwise(beads, word, (9, 6), (20, 9)))
    moves = elementwise(beads, word, _STEP_WORDS) + elementwise(beads, word, _NOISE_WORDS)
    steps = max(1, min(64, _NOISE_NUMBERS_PER_BLOCK // max(1, 4 * beads)))
    return Stage("integrator", moves, extra=word * beads * steps * _NOISE_EXTRA)


def prior_bytes(sizes: Sizes, plan: object, word: int) -> float:
    """Return the bytes of the indices and parameters of the classical terms."""
    terms: float = sizes.replicas * sum(
        getattr(sizes, f) * (INDEX * _PRIOR_BEADS[f] + word * _PRIOR_VALUES[f])
        for f in _PRIOR_WORDS
    )
    if choice(plan, "priors") != "reference" and sizes.repulsion:
        terms += word * sizes.beads**2  # a matrix of ranges
    return terms
