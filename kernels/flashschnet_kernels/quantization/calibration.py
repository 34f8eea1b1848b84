"""Calibration: what linear layers need to know about their real inputs before they go to 16 bit.

How large inputs get, for the scale of the activations. And how they vary together, for the rounding
of the weights: nearest is best for one weight, but what counts is the error of the output,

    E |e x|^2  =  sum over rows of  e M e^T,      e = W - W16,  M = E[x x^T].

Radial functions and filters are strongly correlated inputs, so the rounding error of one weight can
be undone by those that are still to be rounded.

Source: Frantar et al., GPTQ, ICLR 2023 (for integers; here the grid is float16 or bfloat16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flashschnet_kernels.quantization.reference import QuantizedWeight, power_of_two

DAMPING = 1e-2
"""Of the mean diagonal, added to M: unseen inputs count a little, and M can be inverted."""


@dataclass(frozen=True)
class InputStatistics:
    """What was seen at the input of one layer.

    Attributes:
        largest: the largest |x|.
        moments: [in, in] float64, the mean of x x^T over all rows.
    """

    largest: float
    moments: Tensor

    @property
    def activation_scale(self) -> float:
        """s_x: brings `largest` to [1, 2). Inputs may grow 2^15 fold before float16 overflows."""
        if self.largest == 0.0:
            return 1.0
        return float(power_of_two(torch.tensor(self.largest)))


def linear_layers(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return all linear layers with their names, a layer of two names twice."""
    modules = module.named_modules(remove_duplicate=False)
    return [(name, layer) for name, layer in modules if isinstance(layer, nn.Linear)]


def calibrate(
    module: nn.Module, calls: Iterable[Callable[[], object]]
) -> dict[str, InputStatistics]:
    """Return the statistics of the inputs of every linear layer, by the layer's name.

    Args:
        module: any network; hooks watch its `nn.Linear` layers during the calls.
        calls: each evaluates the network on real inputs.

    Raises:
        ValueError: a layer saw no input, or one that is not finite.
    """
    layers = dict(linear_layers(module))
    watchers = {name: _Watcher(layer.in_features) for name, layer in layers.items()}
    hooks = [layer.register_forward_pre_hook(watchers[name]) for name, layer in layers.items()]
    try:
        for call in calls:
            call()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: watcher.statistics(name) for name, watcher in watchers.items()}


class _Watcher:
    """Sums up the inputs of one layer."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self.largest = 0.0
        self.moments = torch.zeros(width, width, dtype=torch.float64)

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().flatten(0, -2)  # [rows, in]
        if len(x) == 0:
            return
        self.rows += len(x)
        self.largest = max(self.largest, float(x.abs().max()))
        self.moments += (x.T @ x).double().cpu()

    def statistics(self, name: str) -> InputStatistics:
        if self.rows == 0:
            raise ValueError(f"layer {name!r} saw no input; calibrate on calls that reach it")
        if not self.moments.isfinite().all():
            raise ValueError(f"layer {name!r} saw inputs that are not finite, or too large")
        return InputStatistics(self.largest, self.moments / self.rows)


def quantize_for_inputs(weight: Tensor, dtype: torch.dtype, moments: Tensor) -> QuantizedWeight:
    """Return a weight in 16 bit, rounded so that outputs (not weights) change least.

    Column after column is rounded to nearest, and its error is moved to the columns that follow, by
    as much as their inputs are correlated with it.

    Args:
        weight: [out, in].
        dtype: torch.float16 or torch.bfloat16.
        moments: [in, in], E[x x^T] of the layer's inputs.
    """
    scales = power_of_two(weight.detach().float().abs().amax(1))
    rest = weight.detach().double().cpu() / scales.double().cpu()[:, None]
    moments = moments.double().cpu()
    damping = (DAMPING * moments.diagonal().mean()).clamp(min=1e-30)
    damped = moments + damping * torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse, upper=True)  # row k: what column k moves to the later
    values = torch.empty_like(rest, dtype=dtype)
    for k in range(rest.shape[1]):
        values[:, k] = rest[:, k].to(dtype)
        error = (rest[:, k] - values[:, k].double()) / factor[k, k]
        rest[:, k + 1 :] -= error[:, None] * factor[k, k + 1 :]
    return QuantizedWeight(values.to(weight.device), scales)
