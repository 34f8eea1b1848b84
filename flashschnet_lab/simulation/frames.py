"""Frames on their way to the host: a copy that runs beside the next steps.

Two buffers in pinned memory take turns, on a stream of their own. While the host writes one frame,
the next steps run; the state of a frame is kept until its copy is done. What the host has to look
at after some steps comes with it: the guards, and whether lists of neighbours had room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from flashschnet_lab.simulation.reporters import Frame
from flashschnet_lab.simulation.state import State
from flashschnet_lab.units import BOLTZMANN

ALWAYS = ("failed_step", "failed_bead")
OF_FRAMES = ("positions", "energy", "kinetic")
NOTHING: Mapping[str, Tensor] = MappingProxyType({})


def make_frame(state: State, time_ps: float, held: Mapping[str, Tensor] = NOTHING) -> Frame:
    """Return the frame of a state; it waits for the device if the state is there.

    Args:
        state: on the host or a device.
        time_ps: of the state.
        held: what restraints hold, see `restraint.held_by`.
    """
    kinetic = state.kinetic.cpu().numpy().copy()
    degrees = 3 * state.positions.shape[1]
    return Frame(
        step=state.step,
        time_ps=time_ps,
        positions=state.positions.detach().cpu().numpy().astype(np.float32),  # a copy
        potential_energy=state.energy.cpu().numpy().copy(),
        kinetic_energy=kinetic,
        temperature=2.0 * kinetic / (degrees * BOLTZMANN),
        **{name: tensor.cpu().numpy().copy() for name, tensor in held.items()},
    )


@dataclass(frozen=True)
class HostCopy:
    """A state, and what of it is on its way to the host.

    Attributes:
        state: on the device.
        due: whether a frame is due, so that positions and energies are copied too.
        copied: name to tensor on the host, valid once `done`.
        done: recorded after the copy; None where nothing had to be copied.
        short: [1] of `shortage` of the steps before, valid once `done`; None where none can be.
        held: what restraints hold in a frame that is due, valid once `done`.
    """

    state: State
    due: bool
    copied: dict[str, Tensor]
    done: torch.cuda.Event | None
    short: Tensor | None = None
    held: Mapping[str, Tensor] = field(default_factory=dict)

    def wait(self) -> State:
        """Return the state with the copied fields on the host, when they are there."""
        if self.done is not None:
            self.done.synchronize()
        return replace(self.state, **self.copied)  # type: ignore[arg-type]

    def shortage(self) -> int:
        """Return what a search of the steps before had no room for, or 0: then they are right."""
        if self.done is not None:
            self.done.synchronize()
        return 0 if self.short is None else int(self.short)


class HostCopies:
    """Starts copies of states; of the last two, the host may read."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._buffers: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})

    def start(
        self,
        state: State,
        due: bool,
        short: Tensor | None = None,
        held: Mapping[str, Tensor] = NOTHING,
    ) -> HostCopy:
        """Start a copy of a state, the shortage of its steps, and what its restraints hold.

        The device goes on meanwhile.
        """
        if self._stream is None:
            return HostCopy(state, due, {}, None, short, held)
        self._buffers = self._buffers[::-1]
        buffers = self._buffers[0]
        names = (*ALWAYS, *OF_FRAMES) if due else ALWAYS
        tensors = {**{name: getattr(state, name) for name in names}, **held}
        if short is not None:
            tensors["short"] = short
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        copied = {}
        with torch.cuda.stream(self._stream):
            for name, tensor in tensors.items():
                if name not in buffers or buffers[name].shape != tensor.shape:
                    buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                copied[name] = buffers[name].copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
            done = torch.cuda.Event()
            done.record(self._stream)
        on_host = {name: copied.pop(name) for name in held}
        return HostCopy(state, due, copied, done, copied.pop("short", None), on_host)
