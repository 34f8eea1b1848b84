"""Where the time of a call goes, operation by operation, as PyTorch's profiler sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Share:
    """One operation (on a GPU, one kernel) of a call.

    Attributes:
        name: as the profiler calls it.
        milliseconds: of one call, without the operations that it calls in turn.
        launches: of one call.
    """

    name: str
    milliseconds: float
    launches: float


def profile(function: Callable[[], object], device: torch.device, *, calls: int = 3) -> list[Share]:
    """Return the operations of a call, the longest first.

    Args:
        function: what is looked at; it is called once before.
        device: where it works; on a GPU the time of the kernels counts, not that of the host.
        calls: how many are averaged.
    """
    from torch.profiler import ProfilerActivity

    function()
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with torch.profiler.profile(activities=activities) as watched:
        for _ in range(calls):
            function()
        if gpu:
            torch.cuda.synchronize(device)
    shares = []
    for event in watched.key_averages():
        if gpu and event.device_type == torch.autograd.DeviceType.CPU:
            continue  # its kernels are listed themselves
        micro = event.self_device_time_total if gpu else event.self_cpu_time_total
        if micro > 0:
            shares.append(Share(event.key, 1e-3 * micro / calls, event.count / calls))
    return sorted(shares, key=lambda share: -share.milliseconds)
