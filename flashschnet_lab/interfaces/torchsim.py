"""A TorchSim model: torch-sim's batched dynamics move our proteins, all replicas in one call.

    import flashschnet_lab as fl
    import torch_sim as ts
    from flashschnet_lab.interfaces.torchsim import FlashSchNetModel, beads_as_state

    system = fl.load_system("chignolin")
    model = FlashSchNetModel(system)
    state = beads_as_state([system.protein] * 8, device=model.device, dtype=model.dtype)
    state = ts.integrate(
        state, model, integrator=ts.nvt_langevin, n_steps=100, temperature=300.0, timestep=0.002
    )

torch-sim from 0.4 on calls that integrator `ts.Integrator.nvt_langevin`. `ts.integrate` counts time
in ps. The integrators themselves count it in units that follow from angstrom, eV and dalton, one of
which is 10.18 fs: there a time step is `0.002 * ts.units.MetalUnits.time`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.devices import resolve_device
from flashschnet_lab.errors import UserError
from flashschnet_lab.interfaces.beads import (
    INSTALL,
    atomic_numbers,
    driven_force_field,
    floating_type,
)
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.simulation.engine import CHECK_EVERY
from flashschnet_lab.system import System

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
    from torch_sim.units import BaseConstant, UnitConversion
except ImportError as error:
    raise UserError(
        f"the TorchSim model needs torch-sim-atomistic, for Python 3.11 or newer: {INSTALL}"
    ) from error

if TYPE_CHECKING:
    from flashschnet_lab.potentials.sum import ForceField

ELECTRONVOLT = (
    UnitConversion.kcal_to_cal * UnitConversion.cal_to_J / (BaseConstant.n_av * BaseConstant.e)
)
"""One kcal/mol in eV, by the constants that torch-sim's clock and Boltzmann constant go by."""
KEPT_LAYOUTS = 8
"""Force fields that are kept: one for each sequence of proteins that a state had lately."""


def beads_as_state(
    proteins: Sequence[Protein],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SimState:
    """Return a state of proteins, one system each, every one about the origin, without a cell.

    Args:
        proteins: where they start; the same one again is a replica.
        device, dtype: those of the model.
    """
    places = [torch.from_numpy(p.positions - p.positions.mean(0)) for p in proteins]
    sizes = torch.tensor([p.beads for p in proteins])
    return SimState(
        positions=torch.cat(places).to(device=device, dtype=dtype),
        masses=torch.cat([torch.from_numpy(p.masses) for p in proteins]).to(device, dtype),
        cell=torch.zeros(len(proteins), 3, 3, device=device, dtype=dtype),
        pbc=False,
        atomic_numbers=torch.cat([torch.from_numpy(atomic_numbers(p)) for p in proteins]).to(
            device
        ),
        system_idx=torch.repeat_interleave(torch.arange(len(proteins)), sizes).to(device),
    )


class FlashSchNetModel(ModelInterface):
    """Energies (eV) and forces (eV/A) of batches of proteins; no stress.

    The systems of a state may be any of the model's proteins in any order, each as often as you
    like: `beads_as_state`, or ASE atoms of `beads_as_atoms`. A system is recognised by the atomic
    numbers of its beads. That happens when a state is new, not at every step.

    Args:
        systems: one, or several whose models mix (see `build_force_field`).
        plan: kernel plan or its name; default as for a `Simulation`: "exact".
        device: "cpu", "cuda", ...; default the GPU if there is one.
        dtype: float32 or float64, of states and forces.

    Raises:
        UserError: from here, a plan that cannot run, models that do not mix, or proteins that
            cannot be told apart (mutants of which all beads are on the same elements); from a call,
            a state that is none of proteins of the model, periodic, of another dtype, or with an
            energy that is not finite (looked for every 100 calls: it makes a GPU wait).
    """

    def __init__(
        self,
        systems: System | Sequence[System],
        plan: KernelPlan | str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.systems = (systems,) if isinstance(systems, System) else tuple(systems)
        self._device = resolve_device(device)
        self._dtype = floating_type(dtype)
        self._compute_stress = False
        self._compute_forces = True
        self._memory_scales_with = "n_atoms"
        self._known: dict[tuple[int, ...], int] = {}
        for index, system in enumerate(self.systems):
            first = self._known.setdefault(tuple(atomic_numbers(system.protein)), index)
            if first != index:
                raise UserError(
                    f"{self.systems[first].name} and {system.name} have the same elements in the "
                    "same order and cannot be told apart in a state; give each a model of its own"
                )
        self.use_plan(plan)

    @property
    def plan(self) -> KernelPlan:
        """Which implementation of each operator runs."""
        return self._plan

    def use_plan(self, plan: KernelPlan | str | None) -> None:
        """Go on under another kernel plan.

        Raises:
            UserError: a plan that cannot run here; the old one stays.
        """
        each = tuple(range(len(self.systems)))
        force_field = driven_force_field(self.systems, plan, self._device, self._dtype)
        self._plan = force_field.plan
        self._force_fields = OrderedDict([(each, force_field)])
        self._seen: tuple[Any, ...] = ()
        self._calls = 0

    def forward(self, state: Any, **kwargs: object) -> dict[str, Tensor]:
        """Return {"energy": [systems], "forces": [beads, 3]} of a state, in its dtype."""
        if isinstance(state, dict):
            state = SimState(**state)
        evaluation = self._force_field_of(state)(state.positions)
        if self._calls % CHECK_EVERY == 0:
            self._check_energies(evaluation.energy)
        self._calls += 1
        energy = (ELECTRONVOLT * evaluation.energy).to(self._dtype)
        return {"energy": energy, "forces": ELECTRONVOLT * evaluation.forces}

    def _force_field_of(self, state: Any) -> ForceField:
        """Return the force field of a state; a state that goes on is known by its tensors."""
        key = (state.system_idx, state.atomic_numbers, state.pbc)
        versions = [getattr(part, "_version", 0) for part in key]
        if self._seen and self._seen[1] == versions:
            if all(new is old for new, old in zip(key, self._seen[0], strict=True)):
                return self._seen[2]
        layout = self._layout(state)
        if layout not in self._force_fields:
            systems = [self.systems[index] for index in layout]
            self._force_fields[layout] = driven_force_field(
                systems, self._plan, self._device, self._dtype
            )
        self._force_fields.move_to_end(layout)
        if len(self._force_fields) > KEPT_LAYOUTS:
            self._force_fields.popitem(last=False)
        self._seen = (key, versions, self._force_fields[layout])
        return self._force_fields[layout]

    def _layout(self, state: Any) -> tuple[int, ...]:
        """Return the index of the protein of every system of a state."""
        if torch.as_tensor(state.pbc).any():
            raise UserError("proteins are simulated in free space; make the state with pbc=False")
        if state.positions.dtype != self._dtype:
            raise UserError(
                f"the state is in {state.positions.dtype} and the model in {self._dtype}; use "
                "state.to(dtype=model.dtype)"
            )
        sizes = torch.bincount(state.system_idx).tolist()
        layout = []
        for index, numbers in enumerate(state.atomic_numbers.split(sizes)):
            known = self._known.get(tuple(numbers.tolist()))
            if known is None:
                names = ", ".join(f"{s.name} ({s.protein.beads} beads)" for s in self.systems)
                raise UserError(
                    f"system {index} of the state, of {len(numbers)} atoms, is not a protein of "
                    f"the model: {names}; make states with beads_as_state"
                )
            layout.append(known)
        return tuple(layout)

    def _check_energies(self, energy: Tensor) -> None:
        good = torch.isfinite(energy).tolist()
        if not all(good):
            raise UserError(
                f"the energy of system {good.index(False)} is not finite: beads clash or flew "
                "apart; minimise the start, and give ts.integrate its time step in ps (0.002)"
            )
