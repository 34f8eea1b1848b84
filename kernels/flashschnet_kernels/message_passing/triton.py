"""Fused continuous-filter convolution: basis, filter network, product and sum in one pass.

Nothing with a row per pair and a column per feature exists in global memory, forward or backward:
the backward computes the filters again. See `tile_kernels` for the kernels, `tile_geometry` for the
distances that they share and `neighbors.tiles` for the tiles.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
from torch import Tensor

from flashschnet_kernels.ahead_of_time import TARGETS, Specialisation
from flashschnet_kernels.first_order import first_order
from flashschnet_kernels.launching import FMA
from flashschnet_kernels.message_passing import tile_geometry, tile_kernels, tile_sums
from flashschnet_kernels.message_passing.filter_network import PRECISIONS, PackedFilter
from flashschnet_kernels.message_passing.tile_geometry import TilePairs
from flashschnet_kernels.message_passing.tile_sums import partial_sums, reduce_partials
from flashschnet_kernels.neighbors.tiles import COLUMNS, ROWS, Tiles

WIDEST = {"float32": 128, "float16": 256, "bfloat16": 256}
PROGRAMS = 1056
"""Programs that fill the largest GPUs of today a few times over."""
SMALL = "float32 in less shared memory"
FORWARD = {
    "float32": {"COLUMNS": 8, "num_warps": 8},
    SMALL: {"COLUMNS": 4, "num_warps": 8},
    "float16": {"COLUMNS": 4, "num_warps": 8},
    "bfloat16": {"COLUMNS": 4, "num_warps": 8},
}
BACKWARD = {
    "float32": {"COLUMNS": 8, "num_warps": 8},
    SMALL: {"COLUMNS": 2, "num_warps": 8},
    "float16": {"COLUMNS": 4, "num_warps": 4},
    "bfloat16": {"COLUMNS": 4, "num_warps": 4},
}
"""Columns taken at a time and warps, the fastest of 14 measured on an H200: see README.md.

`SMALL` is for GPUs before and beside Hopper: 80 KB instead of 128 KB, and few registers spilled.
"""
LARGE = 200 * 1024
"""Bytes of shared memory that a program may use on a GPU that does not need `SMALL`."""


def pass_messages(
    features: Tensor, pairs: TilePairs, filter_network: PackedFilter, *, atomic: bool = False
) -> Tensor:
    """Return m_i = sum_j W(r_ij) * features_j over all neighbours j of i.

    Differentiable once, with respect to features and distances; the weights are constants.

    Args:
        features: [beads, channels] float32.
        pairs: distances and envelope of all pairs within the cutoff, by tiles.
        filter_network: weights of the block, packed.
        atomic: add to the result atomically instead of by partial sums in a fixed order; saves
            the partial sums, and the last bits change from run to run.

    Returns:
        [beads, channels] float32.

    Raises:
        ValueError: another dtype, or more channels than fit on the chip.
    """
    if features.dtype != torch.float32 or pairs.r_ij.dtype != torch.float32:
        raise ValueError(
            f"the fused convolution works in float32, not {features.dtype}; use the plan "
            "'reference' for float64"
        )
    widest = WIDEST[filter_network.precision]
    if filter_network.channels > widest:
        raise ValueError(
            f"{filter_network.channels} channels do not fit; at most {widest} in "
            f"{filter_network.precision}, or the plan 'reference'"
        )
    result: Tensor = _Convolution.apply(features, pairs.r_ij, pairs, filter_network, atomic)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        features: Tensor,
        r_ij: Tensor,
        pairs: TilePairs,
        network: PackedFilter,
        atomic: bool,
    ) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, r_ij, pairs.envelope, pairs.envelope_slope)
        ctx.tiles, ctx.network, ctx.atomic = pairs.tiles, network, atomic
        return launch_forward(features, r_ij, pairs.envelope, pairs.tiles, network, atomic)

    @staticmethod
    @first_order
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        features, r_ij, envelope, envelope_slope = ctx.saved_tensors
        feature_gradient, slope = launch_backward(
            features,
            r_ij,
            envelope,
            envelope_slope,
            gradient.contiguous(),
            ctx.tiles,
            ctx.network,
            ctx.atomic,
            ctx.needs_input_grad[0],
        )
        return feature_gradient, slope, None, None, None


def launch_forward(
    features: Tensor,
    r_ij: Tensor,
    envelope: Tensor,
    tiles: Tiles,
    network: PackedFilter,
    atomic: bool,
) -> Tensor:
    """Run the forward kernel and, unless `atomic`, the sum of its partial sums."""
    splits = _splits(tiles)
    sums = partial_sums(features, tiles, splits, network.second_high.shape[0], atomic)
    if tiles.layout.row_blocks:
        tile_kernels.forward_kernel[(tiles.layout.row_blocks, splits)](
            r_ij,
            envelope,
            features,
            *_tile_arguments(tiles),
            *_network_arguments(network),
            sums.rows,
            sums.columns,
            *_scalars(network, tiles, splits),
            **_constants(network, atomic, features.device),
            **FORWARD[_variant_of(network.precision, features.device)],
            num_stages=1,
            **FMA,
        )
    return sums.rows if atomic else reduce_partials(sums, tiles, splits, network.channels)


def launch_backward(
    features: Tensor,
    r_ij: Tensor,
    envelope: Tensor,
    envelope_slope: Tensor,
    gradient: Tensor,
    tiles: Tiles,
    network: PackedFilter,
    atomic: bool,
    wants_features: bool,
) -> tuple[Tensor | None, Tensor]:
    """Return dE/dh, if wanted, and dE/dr [as r_ij] from dE/dm."""
    splits = _splits(tiles)
    slope = torch.empty_like(r_ij)
    if wants_features:
        sums = partial_sums(features, tiles, splits, network.second_high.shape[0], atomic)
    else:
        sums = tile_sums.Sums(slope, slope)  # the kernel does not touch them
    if tiles.layout.row_blocks:
        tile_kernels.backward_kernel[(tiles.layout.row_blocks, splits)](
            r_ij,
            envelope,
            envelope_slope,
            features,
            gradient,
            *_tile_arguments(tiles),
            *_network_arguments(network),
            slope,
            sums.rows,
            sums.columns,
            *_scalars(network, tiles, splits),
            **_constants(network, atomic, features.device),
            FEATURES=wants_features,
            **BACKWARD[_variant_of(network.precision, features.device)],
            num_stages=1,
            **FMA,
        )
    if not wants_features:
        return None, slope
    if atomic:
        return sums.rows, slope
    return reduce_partials(sums, tiles, splits, network.channels), slope


def _splits(tiles: Tiles) -> int:
    """Return the programs per row block: few molecules need many to fill a GPU.

    They decide the order of sums, so they must not change when the room for tiles grows.
    """
    wanted = -(-PROGRAMS // max(1, tiles.layout.row_blocks))
    return max(1, min(wanted, tiles.layout.candidates))


@functools.cache
def _variant_of(precision: str, device: torch.device) -> str:
    """Return the key of `FORWARD` and `BACKWARD` that a GPU has room for."""
    if precision != "float32" or device.type != "cuda":
        return precision
    properties = triton.runtime.driver.active.utils.get_device_properties(device.index)
    return precision if properties["max_shared_mem"] >= LARGE else SMALL


def _tile_arguments(tiles: Tiles) -> tuple[Tensor, ...]:
    layout = tiles.layout
    return layout.first_bead, layout.molecule_end, tiles.count, tiles.column


def _network_arguments(network: PackedFilter) -> tuple[Tensor | None, ...]:
    return (
        network.first_high,
        network.first_low,
        network.second_high,
        network.second_low,
        network.first_scale,
        network.second_scale,
        network.first_bias,
        network.second_bias,
        network.centres,
        network.widths,
    )


def _scalars(network: PackedFilter, tiles: Tiles, splits: int) -> tuple[float, ...]:
    return network.alpha, network.channels, tiles.most_tiles, splits


def _constants(network: PackedFilter, atomic: bool, device: torch.device) -> dict[str, Any]:
    return {
        "ROWS": ROWS,
        "TILE": COLUMNS,
        "F": network.first_high.shape[1],
        "C": network.second_high.shape[0],
        "EXP_NORMAL": network.kind == "exp_normal",
        "LOWER": network.lower,
        "CUTOFF": network.cutoff if network.lower > 0.0 else 0.0,  # one variant for all others
        "PRECISION": PRECISIONS[network.precision],
        "ATOMIC": atomic,
        "RELOAD": _variant_of(network.precision, device) == SMALL,
        # Tensors on a CPU are for the interpreter, whose bfloat16 product is wrong.
        "UPCAST": network.precision == "bfloat16" and device.type == "cpu",
    }


def specialisations() -> list[Specialisation]:
    """Return the variants that networks of the shapes of CGSchNet and TorchMD-Net launch."""
    half = {"float32": "*fp16", "float16": "*fp16", "bfloat16": "*bf16"}
    integers = dict.fromkeys(
        ("first_bead", "molecule_end", "count", "column", "incoming_count", "incoming"), "*i32"
    )
    pointers = dict.fromkeys(
        ("positions", "features", "gradient", "first_scale", "second_scale", "first_bias")
        + ("second_bias",)
        + ("centres_at", "widths_at", "row_sums", "column_sums", "r_at", "envelope_at")
        + ("envelope_slope_at", "slope_at", "result"),
        "*fp32",
    )
    numbers = {"alpha": "fp32", "cutoff": "fp32"} | dict.fromkeys(
        ("channels", "most_tiles", "splits", "width", "candidates"), "i32"
    )
    found = []
    for name, targets in (
        ("float32", ("sm_90",)),
        (SMALL, ("sm_80", "sm_120")),
        ("float16", tuple(TARGETS)),
        ("bfloat16", tuple(TARGETS)),
    ):
        precision = "float32" if name == SMALL else name
        weights = dict.fromkeys(
            ("first_high", "first_low", "second_high", "second_low"), half[precision]
        )
        signature = {**integers, **pointers, **numbers, **weights}
        constants = {
            "ROWS": ROWS,
            "TILE": COLUMNS,
            "F": 64,
            "C": 128,
            "PRECISION": PRECISIONS[precision],
            "RELOAD": name == SMALL,
            "UPCAST": False,
        }
        plain: dict[str, Any] = {"LOWER": 0.0, "CUTOFF": 0.0, "second_bias": None}
        variants = [
            {**plain, "ATOMIC": atomic, "EXP_NORMAL": exp_normal}
            for atomic, exp_normal in ((False, True), (True, True), (False, False))
        ]
        torchmd: dict[str, Any] = {
            "F": 32,
            "LOWER": 3.0,
            "CUTOFF": 12.0,
            "ATOMIC": False,
            "EXP_NORMAL": True,
        }
        # bfloat16 compiles as float16 does: one of its variants stands for the others.
        for variant in variants[:1] if name == "bfloat16" else (*variants, torchmd):
            shared, atomic = {**constants, **variant}, variant["ATOMIC"]
            kernel, options = tile_kernels.forward_kernel, FORWARD[name]
            found.append(_variant(kernel, signature, shared, options, targets))
            for features in (True, False)[: 1 if atomic else 2]:  # nothing is added without
                backward = {**shared, "FEATURES": features}
                kernel, options = tile_kernels.backward_kernel, BACKWARD[name]
                found.append(_variant(kernel, signature, backward, options, targets))
    for width in (128, tile_geometry.SLOPE):
        constants = {"ROWS": ROWS, "WIDTH": width}
        found.append(_variant(tile_sums.reduce_kernel, signature, constants, {"num_warps": 4}))
    pairs = {"ROWS": ROWS, "COLUMNS": COLUMNS}
    for lower in (0.0, 3.0):
        cutoffs = {**pairs, "LOWER": lower}
        kernel = tile_geometry.geometry_kernel
        found.append(_variant(kernel, signature, cutoffs, {"num_warps": 2}))
    for atomic in (False, True):
        constants = {**pairs, "ATOMIC": atomic}
        found.append(_variant(tile_geometry.pull_kernel, signature, constants, {"num_warps": 2}))
    return found


def _variant(
    kernel: triton.JITFunction,
    signature: dict[str, str],
    constants: dict[str, Any],
    options: dict[str, int],
    targets: tuple[str, ...] = tuple(TARGETS),
) -> Specialisation:
    """Keep of the signature what the kernel takes."""
    constants = constants | {n: v for n, v in options.items() if n in kernel.arg_names}
    own = {n: t for n, t in signature.items() if n in kernel.arg_names and n not in constants}
    return Specialisation(kernel, own, constants, options["num_warps"], 1, targets)
