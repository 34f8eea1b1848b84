"""A whole network with tabulated filters on a CPU: from positions to energies and their gradient.

Everything is one compiled call per evaluation, forward and backward, without autograd. Nothing is
allocated but the result, as long as the list of pairs stays the same. float32. Determinism: same
bits every run, on any number of threads, and for a molecule alone as in any batch.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
from __future__ import annotations

from collections.abc import Sequence

import torch
from numba import njit
from torch import Tensor

from flashschnet_kernels.filter_table import cpu as filters
from flashschnet_kernels.filter_table import pairs_cpu
from flashschnet_kernels.filter_table.pairs_cpu import SortedPairs, groups_of
from flashschnet_kernels.filter_table.table import FilterTable
from flashschnet_kernels.nodes import cpu as nodes
from flashschnet_kernels.nodes.reference import first_features
from flashschnet_kernels.nodes.weights import NodeWeights
from flashschnet_kernels.numba_math import available_threads, match_torch_threads
from flashschnet_kernels.numba_vectors import SLAB, TILE_ROWS, zeros
from flashschnet_kernels.thread_choice import ThreadChoice


class Network:
    """A network with tabulated filters, and room for one evaluation of a batch of molecules.

    Args:
        weights: of all bead work, any dtype and device; copied.
        table: of the filters of all blocks; copied.
        bead_types: [beads] int64.
        molecule_sizes: beads of each molecule, laid end to end.

    Raises:
        ValueError: parts that do not belong together.
    """

    def __init__(
        self,
        weights: NodeWeights,
        table: FilterTable,
        bead_types: Tensor,
        molecule_sizes: Sequence[int],
    ) -> None:
        channels = weights.blocks[0].to_channels.shape[0]
        if (len(weights.blocks), channels) != (table.blocks, table.channels):
            raise ValueError(
                f"a network of {len(weights.blocks)} blocks and {channels} channels, but a table "
                f"of {table.blocks} blocks and {table.channels} channels"
            )
        self._groups = groups_of(molecule_sizes)
        if len(bead_types) != self._groups.beads:
            raise ValueError(
                f"types of {len(bead_types)} beads for molecules of {self._groups.beads}"
            )
        self._table = filters.pack(table)
        self._nodes = nodes.pack(weights)
        self.beads = self._groups.beads
        rows = -(-self.beads // TILE_ROWS) * TILE_ROWS
        x, h = first_features(bead_types.to(weights.embedding.device), weights)
        slabs, hidden, blocks = self._nodes.channels, self._nodes.hidden, len(weights.blocks)
        output = self._nodes.output_slabs
        self._x = filters.to_slabs(x.detach().float().cpu(), hidden, rows)
        self._h = zeros(blocks, slabs, rows * SLAB)
        self._h[0] = filters.to_slabs(h.detach().float().cpu(), slabs, rows)
        self._work = (
            zeros(slabs, rows * SLAB),  # m
            zeros(hidden, rows * SLAB),  # x
            zeros(blocks, hidden, rows * SLAB),  # u
            zeros(max(1, int(output[1:].sum())), rows * SLAB),  # y
            zeros(int(output.max()), rows * SLAB),  # bend
            zeros(hidden, rows * SLAB),  # g_x
            zeros(slabs, rows * SLAB),  # g_m
            zeros(slabs, rows * SLAB),  # g_h
        )
        self._rows = rows
        self._threads = ThreadChoice()
        self._listed: Tensor | None = None
        self._version = -1
        self._pairs: SortedPairs | None = None

    def evaluate(self, positions: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energy of every bead [beads] and the gradient of their sum [beads, 3].

        Args:
            positions: [beads, 3] float32 in angstrom on the CPU.
            pairs: [2, pairs] int32 or int64, i < j, sorted by i: all pairs of one molecule within
                the cutoff. Those beyond are passed over. Sorted into the groups of threads once per
                list: hand over the same tensor as long as it is valid.

        Raises:
            TypeError: positions of another dtype or device.
            ValueError: another number of beads.
        """
        if positions.dtype != torch.float32 or positions.device.type != "cpu":
            raise TypeError(
                f"nodes=cpu takes float32 positions on the CPU, not {positions.dtype} on "
                f"{positions.device}; use the plan reference for another dtype"
            )
        if positions.shape != (self.beads, 3):
            raise ValueError(f"positions of shape {tuple(positions.shape)} for {self.beads} beads")
        known = pairs is self._listed and pairs._version == self._version
        if self._pairs is None or not known:
            self._pairs = pairs_cpu.room_for(
                pairs, self._groups, self._table.knots, self._table.slabs
            )
            self._listed, self._version = pairs, pairs._version
        energy = positions.new_empty(self._rows)
        gradient = positions.new_empty(self.beads, 3)
        arguments = (
            positions.detach().contiguous().numpy(),
            energy.numpy(),
            gradient.numpy(),
            pairs_cpu.sort_arguments(self._pairs),
            filters.pair_arguments(self._pairs),
            pairs_cpu.gradient_arguments(self._pairs),
            self._table.coefficients,
            self._nodes.arguments(),
            self._nodes.matrices,
            self._nodes.biases,
            self._x,
            self._h,
            *self._work,
        )

        def work(threads: int) -> None:
            match_torch_threads(threads)
            _evaluate(*arguments)

        self._threads.run(work, available_threads())
        return energy[: self.beads], gradient


@njit(cache=True, nogil=True)
def _evaluate(
    positions,
    energy,
    gradient,
    sorting,
    pairs,
    scatter,
    table,
    output,
    matrices,
    biases,
    x_first,
    h,
    m,
    x,
    u,
    y,
    bend,
    g_x,
    g_m,
    g_h,
):
    """Write energy [rows] and gradient [beads, 3]; everything else is read, or scratch."""
    pairs_cpu.sort_pairs(positions, *sorting)
    blocks, channels, hidden = h.shape[0], m.shape[0], x.shape[0]
    slope = scatter[6]
    for block in range(blocks):
        filters.add_messages(h[block], m, table[block], *pairs)
        following = min(block + 1, blocks - 1)
        nodes.update(
            m,
            x_first if block == 0 else x,
            x,
            u[block],
            h[following],
            matrices[block],
            biases[block],
            matrices[following],
            block + 1 < blocks,
            channels,
            hidden,
        )
    nodes.turn(x, y, bend, u[blocks - 1], g_x, g_m, energy, matrices[blocks - 1], channels, *output)
    for block in range(blocks - 1, -1, -1):
        filters.add_gradients(
            h[block], g_m, g_h, slope, table[block], block > 0, block == blocks - 1, *pairs
        )
        if block > 0:
            nodes.back(
                g_h,
                g_x,
                bend,
                u[block - 1],
                g_m,
                matrices[block],
                matrices[block - 1],
                channels,
                hidden,
            )
    pairs_cpu.add_slopes(positions, *scatter, gradient)
