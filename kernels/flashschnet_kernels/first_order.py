"""Backward passes that have no derivative of their own, and say so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate the backward of an autograd.Function that a fused kernel computes.

    `once_differentiable` alone objects only where the incoming gradient depends on something: a
    second derivative of an energy that is linear in the output would lack this term in silence.

    Raises:
        RuntimeError: the backward is asked for a graph (create_graph=True).
    """
    once = once_differentiable(backward)

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():  # what create_graph=True means to a backward
            raise RuntimeError(
                "this fused operator has first derivatives only, but a graph of the gradient is "
                'wanted (create_graph=True); train with the plan "reference"'
            )
        return once(ctx, *gradients)

    return checked
