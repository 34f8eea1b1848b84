"""What a step costs under another package's driver.

    python -m flashschnet_lab.interfaces.overhead

Chignolin, one replica, velocity Verlet, on one thread of this CPU. Shown is the processor's time,
of which others on a busy machine take little, and the best of several turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import load_system
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.system import System

TIMESTEP_FS = 2.0
STEPS = 50
TURNS = 12


def drivers(system: System) -> dict[str, Callable[[int], object]]:
    """Return what advances a system by so many steps, by the name of the driver.

    A driver whose package is not installed is left out, and named.
    """
    start = partial(Simulation, system, device="cpu", timestep_fs=TIMESTEP_FS)
    found: dict[str, Callable[[int], object]] = {
        "forces alone": _forces(system),
        "Simulation, verlet": start(integrator="verlet").run,
        "Simulation, langevin (fused)": start().run,
    }
    for name, make in (("ASE", _ase), ("torch-sim", _torch_sim)):
        try:
            found[f"{name}, velocity Verlet"] = make(system)
        except UserError as error:
            print(f"without {name}: {error}")
    return found


def milliseconds(runs: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """Return the processor's time for a step of each driver, the best of its turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, run in runs.items():
            begun = time.process_time()
            run(STEPS)
            if turn:  # the first one compiles and fills caches
                times[name].append((time.process_time() - begun) / STEPS)
    return {name: 1e3 * min(each) for name, each in times.items()}


def _forces(system: System) -> Callable[[int], object]:
    from flashschnet_lab.interfaces.beads import driven_force_field

    force_field = driven_force_field([system], None, torch.device("cpu"), torch.float32)
    x = torch.from_numpy(system.protein.positions).float()
    return lambda steps: [force_field(x) for _ in range(steps)]


def _ase(system: System) -> Callable[[int], object]:
    from ase import units
    from ase.md.verlet import VelocityVerlet

    from flashschnet_lab.interfaces.ase import FlashSchNetCalculator, beads_as_atoms

    atoms = beads_as_atoms(system.protein)
    atoms.calc = FlashSchNetCalculator(system, device="cpu")
    run: Callable[[int], object] = VelocityVerlet(atoms, timestep=TIMESTEP_FS * units.fs).run
    return run


def _torch_sim(system: System) -> Callable[[int], object]:
    import torch_sim as ts

    from flashschnet_lab.interfaces.torchsim import FlashSchNetModel, beads_as_state

    model = FlashSchNetModel(system, device="cpu")
    units = ts.units.MetalUnits
    dt, kT = torch.tensor(TIMESTEP_FS / 1000 * units.time), torch.tensor(300 * units.temperature)
    state = beads_as_state([system.protein])
    if hasattr(ts, "nve"):  # before 0.4
        first, step = ts.nve(model, dt=dt, kT=kT)
        state = first(state)
    else:
        state, step = ts.nve_init(state, model, kT=kT), partial(ts.nve_step, model=model, dt=dt)

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state = step(state)

    return run


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| chignolin, one replica, 2 fs | ms per step |\n|---|---|")
    for name, each in milliseconds(drivers(load_system("chignolin"))).items():
        print(f"| {name} | {each:.2f} |")


if __name__ == "__main__":
    main()
