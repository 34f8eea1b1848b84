"""A Langevin step in place: every implementation against plain PyTorch in float64."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.langevin import reference
from flashschnet_kernels.langevin.parameters import (
    LangevinBuffers,
    LangevinParameters,
    allocate,
)
from tests.kernels.tolerances import assert_as_exact_as_eager

CPU = torch.device("cpu")
SCRATCH = ("new_positions", "new_velocities", "parts")
COMMITTED = ("positions", "velocities", "forces", "energy", "kinetic")
SEED = (0x9ABCDEF0 << 32) + 0x87654321  # both words above 2^31
SIZES = [(3, 150), (1, 1), (2, 128), (1, 300)]


@dataclass(frozen=True)
class Case:
    """A state in float64, exact in float32, and what a force field says of the next positions."""

    buffers: LangevinBuffers
    parameters: LangevinParameters
    bead_energy: Tensor
    gradient: Tensor

    def to(self, dtype: torch.dtype, device: torch.device = CPU) -> Case:
        """Return a copy; all floating-point numbers but sums in another dtype."""
        sums = ("energy", "kinetic", "parts")

        def moved(part: object) -> dict[str, Tensor]:
            return {
                f.name: value.to(device, dtype if value.is_floating_point() and f.name not in sums
                                 else value.dtype, copy=True)
                for f in fields(part)  # type: ignore[arg-type]
                if isinstance(value := getattr(part, f.name), Tensor)
            }  # fmt: skip

        return Case(
            LangevinBuffers(**moved(self.buffers)),
            replace(self.parameters, **moved(self.parameters)),
            self.bead_energy.to(device, dtype),
            self.gradient.to(device, dtype),
        )


def make(replicas: int = 3, beads: int = 150, step: int = (5 << 32) + 17) -> Case:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).double()

    b = allocate(replicas, beads, torch.float64, CPU)
    for name in SCRATCH:
        getattr(b, name).fill_(torch.nan)
    b.positions.copy_(random(replicas, beads, 3) * 10.0)
    b.velocities.copy_(random(replicas, beads, 3) * 5.0)
    b.forces.copy_(random(replicas, beads, 3) * 20.0)
    b.energy.copy_(random(replicas))
    b.kinetic.copy_(random(replicas))
    b.failed_step.fill_(-1)
    b.failed_bead.fill_(-1)
    b.step.copy_(torch.tensor([step, -7]))
    parameters = LangevinParameters(
        inverse_mass=(418.4 / (12.0 + random(beads).abs())).float().double(),
        kT=(0.6 + 0.1 * random(replicas).abs()).float().double(),
        streams=torch.tensor([4, (1 << 32) - 1, 9])[:replicas],
        seed=SEED,
        timestep=0.004,
        friction=1.0,
        move_limit=0.4,
    )
    return Case(b, parameters, random(replicas * beads), random(replicas * beads, 3) * 20.0)


@pytest.fixture(params=["triton", "cpu", "cpu-float64"])
def kernel(request, triton_device):
    """Module, device and dtype."""
    if request.param == "triton":
        module = pytest.importorskip("flashschnet_kernels.langevin.triton")
        return module, triton_device, torch.float32
    pytest.importorskip("numba")
    module = importlib.import_module("flashschnet_kernels.langevin.cpu")
    return module, CPU, torch.float64 if request.param == "cpu-float64" else torch.float32


def one_step(module, case: Case) -> Case:
    module.first_half(case.buffers, case.parameters)
    module.second_half(case.buffers, case.bead_energy, case.gradient, case.parameters)
    return case


def assert_same(found: LangevinBuffers, eager: LangevinBuffers, exact: LangevinBuffers) -> None:
    for name in (*SCRATCH, *COMMITTED):
        parts = (getattr(b, name).cpu() for b in (found, eager, exact))
        assert_as_exact_as_eager(*parts)
    for name in ("failed_step", "failed_bead", "step"):
        assert torch.equal(getattr(found, name).cpu(), getattr(exact, name)), name


@pytest.mark.parametrize(("replicas", "beads"), SIZES)
def test_one_step(kernel, replicas, beads):
    module, device, dtype = kernel
    case = make(replicas, beads)
    found = one_step(module, case.to(dtype, device)).buffers
    again = one_step(module, case.to(dtype, device)).buffers
    eager, exact = (one_step(reference, case.to(d)).buffers for d in (dtype, torch.float64))
    assert_same(found, eager, exact)
    for field in fields(found):
        assert torch.equal(getattr(found, field.name), getattr(again, field.name))


def test_the_noise_is_the_reference_noise(kernel):
    """With nothing but noise, velocities are noise."""
    module, device, dtype = kernel
    case = make(2, 300)
    case.buffers.velocities.zero_()
    case.buffers.forces.zero_()
    case = replace(case, parameters=replace(case.parameters, friction=1e6))
    spread = torch.sqrt(case.parameters.kT[:, None] * case.parameters.inverse_mass)[..., None]
    found = one_step(module, case.to(dtype, device)).buffers.new_velocities.cpu().double() / spread
    p = case.parameters
    step = int(case.buffers.step[0])
    exact = reference.gaussian_noise(p.seed, p.streams, step, 1, 300, torch.float64)[0]
    difference = (found - exact).abs()
    assert difference.max() < 1e-3  # where u rounds near 1 the radius loses digits
    assert difference.median() < 1e-6


def test_steps_count_and_each_has_its_noise(kernel):
    module, device, dtype = kernel
    found, exact = make(2, 40).to(dtype, device), make(2, 40)
    for _ in range(3):
        one_step(module, found)
        one_step(reference, exact)
    assert found.buffers.step.tolist() == exact.buffers.step.tolist() == [(5 << 32) + 20] * 2
    torch.testing.assert_close(
        found.buffers.positions.cpu().double(), exact.buffers.positions, rtol=1e-5, atol=1e-5
    )


TROUBLES = {
    "a bead too fast": ("velocities", (1, 140, 0), 1e4, 140),
    "the first of two": ("velocities", (1, slice(20, 22), 1), torch.inf, 20),
    "no number": ("velocities", (1, 129, 2), torch.nan, 129),
}


@pytest.mark.parametrize("trouble", [*TROUBLES, "energy"])
def test_a_replica_in_trouble_stays_and_the_others_go_on(kernel, trouble):
    module, device, dtype = kernel
    case = make()
    bead = None
    if trouble == "energy":
        case.bead_energy[150 + 77] = torch.nan
    else:
        name, where, value, bead = TROUBLES[trouble]
        getattr(case.buffers, name)[where] = value
    before = case.to(dtype, device).buffers
    found = one_step(module, case.to(dtype, device))
    exact = one_step(reference, case.to(torch.float64))
    assert found.buffers.failed_step.tolist() == [-1, (5 << 32) + 18, -1]
    assert torch.equal(found.buffers.failed_bead.cpu(), exact.buffers.failed_bead)
    if bead is not None:
        assert int(found.buffers.failed_bead[1]) == bead
    for name in COMMITTED:
        now, then = getattr(found.buffers, name), getattr(before, name)
        assert torch.equal(now[1].nan_to_num(7.0), then[1].nan_to_num(7.0)), name
        assert not torch.equal(now[0], then[0])
        assert now[[0, 2]].isfinite().all()

    # In the next step it is left alone, wherever it would go, and keeps the step of its failure.
    case = replace(found, bead_energy=torch.ones_like(found.bead_energy))
    one_step(module, case)
    assert torch.equal(found.buffers.new_positions[1], before.positions[1])
    assert found.buffers.failed_step.tolist() == [-1, (5 << 32) + 18, -1]
    assert found.buffers.step.tolist() == [(5 << 32) + 19] * 2


def test_what_a_force_field_hands_over_is_checked(kernel):
    module, device, dtype = kernel
    case = make().to(dtype, device)
    module.first_half(case.buffers, case.parameters)
    with pytest.raises(ValueError, match=r"3 replicas of 150 beads need energies \[450\]"):
        module.second_half(case.buffers, case.bead_energy[1:], case.gradient, case.parameters)
    with pytest.raises(ValueError, match="dtype"):
        module.second_half(case.buffers, case.bead_energy.half(), case.gradient, case.parameters)
    strided = case.gradient.T.contiguous().T
    with pytest.raises(ValueError, match="contiguous"):
        module.second_half(case.buffers, case.bead_energy, strided, case.parameters)


def test_triton_refuses_float64(triton_device):
    module = pytest.importorskip("flashschnet_kernels.langevin.triton")
    case = make(1, 5).to(torch.float64, triton_device)
    with pytest.raises(ValueError, match="langevin=reference"):
        module.first_half(case.buffers, case.parameters)
