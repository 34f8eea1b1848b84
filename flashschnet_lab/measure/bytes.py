"""The IO model: what an evaluation must read, write and compute, from its sizes and plan alone.

A byte counts when it passes between a kernel and global memory: every launched operation reads each
of its operands once and writes each of its results once. What a cache saves or costs beyond that is
left out, so a prediction is a floor for kernels that fit in the cache and close for those that
stream. `measure.traffic` counts by the same rule what plain PyTorch really does, and
`measure.memory` follows what it really holds; the tests compare both with this model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from flashschnet_kernels.neighbors.verlet import ALWAYS_ENOUGH, HEAD_ROOM
from flashschnet_lab.measure import (
    eager,
    fused,
    fused_blocks,
    fused_tiles,
    nodes,
    table_blocks,
    table_eager,
    table_tiles,
)
from flashschnet_lab.measure.stages import FUSED, INDEX, WORD, Sizes, Stage, choice
from flashschnet_lab.measure.tiling import Tiling, tiling
from flashschnet_lab.potentials.schnet import SchNetShape
from flashschnet_lab.system import System


@dataclass(frozen=True)
class StageCost:
    """What one stage of an evaluation costs.

    Attributes:
        name: of the stage; backward stages end in ", backward".
        bytes_read: from global memory.
        bytes_written: to global memory.
        flops: floating-point operations; exp, cos and tanh count as one.
        live_bytes: most bytes alive at once during the stage, of all that the evaluation made.
        on_chip_bytes: read again from the cache by the programs of a fused kernel, besides.
    """

    name: str
    bytes_read: int
    bytes_written: int
    flops: int
    live_bytes: int
    on_chip_bytes: int = 0

    @property
    def bytes_moved(self) -> int:
        """Read and written."""
        return self.bytes_read + self.bytes_written


def stage_costs(
    shape: SchNetShape | None,
    work: Sizes,
    plan: object,
    *,
    precision: str = "float32",
    stage: str = "force",
    tiles: float | None = None,
) -> tuple[StageCost, ...]:
    """Return the cost of every stage of one evaluation, in the order in which they run.

    Args:
        shape: widths of the network, or None without one.
        work: sizes of the molecule and number of copies.
        plan: a `KernelPlan`.
        precision: "float32" or "float64".
        stage: "force" (energies and forces) or "step" (a Langevin step).
        tiles: active tiles of one molecule if they were counted (see `tiling.tiling`).
    """
    word = WORD[precision]
    prior, prior_backward = nodes.priors(work, plan, word)
    forward, backward = [prior], [prior_backward]
    if shape is not None:
        network = _network(shape, work, plan, word, tiles)
        forward, backward = forward + network[0], network[1] + backward
    whole = forward + backward
    if stage == "step":
        whole.append(nodes.integrator(work, plan, word))
    return _costs(whole)


def predicted_bytes(costs: tuple[StageCost, ...]) -> int:
    """Return the bytes read and written by all stages."""
    return sum(cost.bytes_moved for cost in costs)


def predicted_flops(costs: tuple[StageCost, ...]) -> int:
    """Return the floating-point operations of all stages."""
    return sum(cost.flops for cost in costs)


def predicted_peak_bytes(costs: tuple[StageCost, ...]) -> int:
    """Return the most bytes that an evaluation has alive at once, besides what lived before it."""
    return max(cost.live_bytes for cost in costs)


def resident_bytes(
    shape: SchNetShape | None, work: Sizes, plan: object, *, precision: str = "float32"
) -> int:
    """Return what stays from step to step: weights, terms of the priors, list, and the state."""
    word = WORD[precision]
    weights = 0
    if shape is not None:
        f, c, h = shape.radial_functions, shape.channels, shape.hidden
        block = c * h + f * c + c + c * c + c * shape.filter_bias + c * h + h + h * h + h
        widths = (h, *shape.output_widths)
        output = sum(prod(pair) + pair[1] for pair in zip(widths, widths[1:], strict=False))
        output += widths[-1] + shape.output_bias
        weights = shape.blocks * block + output + shape.types * h + 2 * f
    state = work.all_beads * (9 * word + INDEX)  # positions, velocities, forces, bead types
    kept = 0.0
    if shape is not None:
        kept = _list_bytes(work, plan, word) + _table_bytes(shape, work, plan)
    return int(word * weights + nodes.prior_bytes(work, plan, word) + state + kept)


def _table_bytes(shape: SchNetShape, sizes: Sizes, plan: object) -> float:
    """Return the bytes of a table of filters, of packed bead work, and of beads' first features.

    On a CPU they are made with the room for an evaluation, and counted there.
    """
    if choice(plan, "filters") == "network" or choice(plan, "message_passing") != "triton":
        return 0.0
    table = table_tiles.table_bytes(shape, plan)
    if choice(plan, "nodes") == "reference":
        return table
    features = table_tiles.start_bytes(shape, sizes, plan)
    return table + table_tiles.node_weight_bytes(shape, plan) + features


def _list_bytes(sizes: Sizes, plan: object, word: int) -> float:
    """Return the bytes of a Verlet list: three indices per edge, and what it keeps per bead."""
    if choice(plan, "neighbors") != "verlet":
        return 0.0
    room: float = sizes.beads * (sizes.beads - 1) * sizes.replicas
    if room > ALWAYS_ENOUGH:
        room = min(room, HEAD_ROOM * sizes.all_edges)
    numbers = 3 * room + 6 * sizes.all_beads
    if choice(plan, "message_passing") in FUSED:
        numbers += fused_blocks.LISTED * sizes.all_edges  # both ends of each pair
    return 4 * numbers + 3 * word * sizes.all_beads


def sizes_of(system: System, replicas: int, directed_edges: int) -> Sizes:
    """Return the sizes of a system.

    Args:
        system: protein and model.
        replicas: copies.
        directed_edges: of one copy, within the cutoff of the network.
    """
    protein, model = system.protein, system.model
    counts = {} if model.prior is None else model.prior.rules.counts(protein)
    return Sizes(
        beads=system.protein.beads,
        directed_edges=directed_edges,
        replicas=replicas,
        bonds=counts.get("bonds", 0),
        angles=counts.get("angles", 0),
        dihedrals=counts.get("dihedrals", 0),
        repulsion=counts.get("repulsion", 0),
        contacts=0 if model.contacts is None else len(model.contacts.pairs),
    )


def _network(
    shape: SchNetShape, sizes: Sizes, plan: object, word: int, counted: float | None
) -> tuple[list[Stage], list[Stage]]:
    """Return the stages of the network, forward and backward, each in the order they run."""
    passing, links = choice(plan, "message_passing"), eager.links_of(sizes, plan)
    tiles, tabulated = tiling(sizes, counted), choice(plan, "filters") != "network"
    forward: list[Stage] = []
    backward: list[Stage] = []  # last first
    if choice(plan, "neighbors") == "tiles":
        forward.append(fused_tiles.search(sizes, tiles))
    elif choice(plan, "neighbors") == "verlet":
        forward.append(fused.verlet_check(sizes, word))
    else:
        forward.append(eager.neighbors(sizes, plan, word))
    if choice(plan, "nodes") != "reference":
        one = _network_in_one(shape, sizes, plan, tiles)
        return forward + one[0], one[1]
    if passing == "triton" and tabulated:
        basis = table_tiles.coordinates(sizes, tiles)
        basis_backward = table_tiles.pull(shape, sizes, plan, tiles, explicit=False)
    elif tabulated:
        basis, basis_backward = table_eager.distances(sizes, links, word)
    elif passing == "triton":
        basis, basis_backward = fused_tiles.geometry(sizes, plan, tiles)
    elif passing == "cpu":
        basis, basis_backward = fused_blocks.geometry(sizes, word)
    elif choice(plan, "radial_basis") == "reference":
        basis = eager.radial_basis(shape, sizes, links, word)
        basis_backward = eager.radial_basis_backward(shape, sizes, links, word)
    else:
        basis, basis_backward = fused.radial_basis(shape, sizes, links, word)
    forward.append(basis)
    backward.append(basis_backward)
    for number in range(shape.blocks):
        before, after = nodes.node_layers(shape, sizes, plan, word, number)
        update_backward, *rest = nodes.node_layers_backward(shape, sizes, plan, word, number)
        middle, middle_backward = _messages(shape, sizes, plan, word, number, links, tiles)
        forward += [before, *middle, after]
        backward += [*reversed(rest), *reversed(middle_backward), update_backward]
    last, last_backward = nodes.output(shape, sizes, plan, word)
    if passing not in FUSED and not tabulated:  # the basis itself goes when the network returns
        last = replace(last, kept=last.kept - word * links * shape.radial_functions)
    return [*forward, last], [last_backward, *reversed(backward)]


def _network_in_one(
    shape: SchNetShape, sizes: Sizes, plan: object, tiles: Tiling
) -> tuple[list[Stage], list[Stage]]:
    """Return the stages of a network whose bead work is fused too, from tables of filters."""
    forward: list[Stage] = []
    backward: list[Stage] = []  # last first
    on_gpu = choice(plan, "nodes") == "triton"
    if on_gpu:
        forward.append(table_tiles.coordinates(sizes, tiles))
        forward.append(table_tiles.begin(shape, sizes, plan, tiles))
        backward.append(table_tiles.pull(shape, sizes, plan, tiles, explicit=True))
    else:
        forward += [table_blocks.begin(shape, sizes, plan), table_blocks.sort(sizes)]
        backward.append(table_blocks.pull(shape, sizes))
    for number in range(shape.blocks):
        if on_gpu:
            middle, middle_backward = table_tiles.messages(shape, sizes, plan, number, tiles)
            after = table_tiles.nodes(shape, sizes, plan, number, tiles)
            before = table_tiles.nodes_backward(shape, sizes, plan, number, tiles)
        else:
            middle, middle_backward = table_blocks.messages(shape, sizes, plan, number)
            after = [table_blocks.nodes(shape, sizes, number)]
            before = table_blocks.nodes_backward(shape, sizes, number)
        forward += [middle, *after]
        backward += [middle_backward, *before]
    return forward, backward[::-1]


def _messages(
    shape: SchNetShape,
    sizes: Sizes,
    plan: object,
    word: int,
    number: int,
    links: float,
    tiles: Tiling,
) -> tuple[list[Stage], list[Stage]]:
    """Return the stages of one convolution, forward and backward."""
    passing = choice(plan, "message_passing")
    if passing == "triton" and choice(plan, "filters") != "network":
        messages, back = table_tiles.block(shape, sizes, plan, number, tiles)
    elif passing == "triton":
        messages, back = fused_tiles.block(shape, sizes, plan, number, tiles)
    elif choice(plan, "filters") != "network":
        return table_eager.block(shape, sizes, plan, links, word, number)
    elif passing == "cpu":
        messages, back = fused_blocks.block(shape, sizes, plan, word, number)
    else:
        return (
            eager.block(shape, sizes, plan, links, word, number),
            eager.block_backward(shape, sizes, plan, links, word, number),
        )
    return [messages], [back]


def _costs(stages: list[Stage]) -> tuple[StageCost, ...]:
    """Follow what is alive from stage to stage."""
    alive, costs = 0.0, []
    for stage in stages:
        costs.append(
            StageCost(
                name=stage.name,
                bytes_read=round(stage.moves.read),
                bytes_written=round(stage.moves.written),
                flops=round(stage.moves.flops),
                live_bytes=round(alive + max(stage.extra, stage.kept, 0.0)),
                on_chip_bytes=round(stage.on_chip),
            )
        )
        alive += stage.kept
    return tuple(costs)


def merged(costs: tuple[StageCost, ...]) -> tuple[StageCost, ...]:
    """Return one cost per kind of stage: the blocks of the network added up."""
    kinds: dict[str, list[StageCost]] = {}
    for cost in costs:
        words = cost.name.split(" ", 2)
        kinds.setdefault(words[2] if words[0] == "block" else cost.name, []).append(cost)
    return tuple(
        StageCost(
            kind,
            sum(c.bytes_read for c in same),
            sum(c.bytes_written for c in same),
            sum(c.flops for c in same),
            max(c.live_bytes for c in same),
            sum(c.on_chip_bytes for c in same),
        )
        for kind, same in kinds.items()
    )
