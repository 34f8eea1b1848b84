"""An ASE calculator: ASE's dynamics and optimisers move our proteins.

    import flashschnet_lab as fl
    from ase import units
    from ase.md.verlet import VelocityVerlet
    from flashschnet_lab.interfaces.ase import FlashSchNetCalculator, beads_as_atoms

    system = fl.load_system("chignolin")
    atoms = beads_as_atoms(system.protein)
    atoms.calc = FlashSchNetCalculator(system)
    VelocityVerlet(atoms, timestep=2 * units.fs).run(100)

ASE's units are angstrom, eV and dalton, so its unit of time is what follows from them: 10.18 fs.
A time step is written `2 * units.fs`; a bare `2` would be 20 fs, at which bonds fly apart. In the
same way a friction of 1/ps is `0.001 / units.fs`, and velocities are in angstrom per 10.18 fs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

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
from flashschnet_lab.system import System

try:
    from ase import Atoms, units
    from ase.calculators.calculator import Calculator, all_changes
except ImportError as error:
    raise UserError(f"the ASE calculator needs ase: {INSTALL}") from error

ELECTRONVOLT = units.kcal / units.mol
"""One kcal/mol in eV, by the constants that ASE's clock and its Boltzmann constant go by."""
BEAD_TYPES = "bead_types"
"""Name of the array of `Atoms` that holds the types of the beads."""


def beads_as_atoms(protein: Protein, positions: np.ndarray | None = None) -> Atoms:
    """Return the beads of a protein as ASE's atoms, without a cell.

    An atom has the element and the mass (dalton) of the atom that its bead sits on. Its tag is the
    index of its residue. The arrays `atomtypes`, `residuenames` and `residuenumbers` are those that
    ASE writes into PDB files; `bead_types` is what the network knows a bead by.

    Args:
        protein: what is to be moved.
        positions: [beads, 3], angstrom; default the protein's.
    """
    atoms = Atoms(
        numbers=atomic_numbers(protein),
        positions=protein.positions if positions is None else positions,
        masses=protein.masses,
        tags=protein.residue_of_bead,
    )
    residues = [protein.residues[index] for index in protein.residue_of_bead]
    atoms.set_array("atomtypes", np.array(protein.bead_names))
    atoms.set_array("residuenames", np.array([residue.name for residue in residues]))
    atoms.set_array("residuenumbers", np.array([residue.number for residue in residues]))
    atoms.set_array(BEAD_TYPES, protein.bead_types.copy())
    return atoms


class FlashSchNetCalculator(Calculator):
    """Energy (eV) and forces (eV/A) of one protein.

    Args:
        system: protein and model. The atoms must be its beads, in its order: `beads_as_atoms`.
        plan: kernel plan or its name; default as for a `Simulation`: "exact".
        device: "cpu", "cuda", ...; default the GPU if there is one.
        dtype: "float32" or "float64", in which forces are computed; ASE's own numbers are float64.
            For finite differences take "float64" and the plan "reference".

    Raises:
        UserError: from here, a plan that cannot run; from `calculate`, atoms that are not the beads
            of the protein, a periodic cell, or an energy that is not finite.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces"]

    def __init__(
        self,
        system: System,
        plan: KernelPlan | str | None = None,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype = "float32",
    ) -> None:
        super().__init__()
        self.system = system
        self.device = resolve_device(device)
        self.dtype = floating_type(dtype)
        self._numbers = atomic_numbers(system.protein)
        self.use_plan(plan)

    @property
    def plan(self) -> KernelPlan:
        """Which implementation of each operator runs."""
        return self._force_field.plan

    def use_plan(self, plan: KernelPlan | str | None) -> None:
        """Go on under another kernel plan.

        Raises:
            UserError: a plan that cannot run here; the old one stays.
        """
        self._force_field = driven_force_field([self.system], plan, self.device, self.dtype)
        self.reset()

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy and forces of the atoms, as ASE asks for them."""
        super().calculate(atoms, properties, system_changes)
        self._check(self.atoms)
        x = self.atoms.positions
        x = x - x.mean(0)  # float32 loses digits far from the origin
        evaluation = self._force_field(torch.as_tensor(x, dtype=self.dtype, device=self.device))
        energy = float(evaluation.energy) * ELECTRONVOLT
        if not np.isfinite(energy):
            raise UserError(
                f"the energy of {self.system.name} is {energy}: beads clash or flew apart; "
                "minimise the start, and write the time step as 2 * ase.units.fs (2 is 20 fs)"
            )
        forces = evaluation.forces.to("cpu", torch.float64).numpy() * ELECTRONVOLT
        self.results: dict[str, Any] = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces,
        }

    def _check(self, atoms: Atoms) -> None:
        """Refuse atoms that are not the beads of the protein."""
        protein, problem = self.system.protein, ""
        if len(atoms) != protein.beads:
            problem = f"there are {len(atoms)} atoms, but {protein.name} has {protein.beads} beads"
        elif atoms.pbc.any():
            raise UserError(
                f"{protein.name} is simulated in free space; switch the periodic cell off with "
                "atoms.pbc = False"
            )
        elif not np.array_equal(atoms.numbers, self._numbers):
            bead = int(np.flatnonzero(atoms.numbers != self._numbers)[0])
            problem = f"atom {bead} has another element than bead {protein.label(bead)}"
        elif BEAD_TYPES in atoms.arrays and not np.array_equal(
            atoms.arrays[BEAD_TYPES], protein.bead_types
        ):
            bead = int(np.flatnonzero(atoms.arrays[BEAD_TYPES] != protein.bead_types)[0])
            problem = f"atom {bead} is not of the type of bead {protein.label(bead)}"
        if problem:
            raise UserError(f"{problem}; make the atoms with beads_as_atoms(system.protein)")
