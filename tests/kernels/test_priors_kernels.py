"""All classical terms in one pass, against autograd over lists of terms in float64."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from flashschnet_kernels.priors import reference
from flashschnet_kernels.priors.layout import FAMILIES, Kind, KindTerms, PriorsLayout, lay_out
from tests.kernels.tolerances import assert_as_exact_as_eager

# Places without a term divide zero by zero in the interpreter, and are left out afterwards.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

SIZES = (21, 1, 70, 70)
KINDS = (0, 1, 2, 2)
TYPES = 5
CPU = torch.device("cpu")
WIDTHS = {"bonds": 2, "angles": 2, "dihedrals": 1 + 2 * 3}


@dataclass(frozen=True)
class Molecules:
    """A batch: its kinds, and positions [beads, 3] float64, exact in float32."""

    positions: Tensor
    kinds: tuple[Kind, ...]
    sigma: Tensor

    def layout(self, dtype: torch.dtype, device: torch.device = CPU) -> PriorsLayout:
        return lay_out(SIZES, KINDS, self.kinds, self.sigma, dtype, device)


def random_kind(beads: int, orders: int, generator: torch.Generator) -> Kind:
    """A chain whose terms join beads at random, some of them often, some never."""

    def members(k: int) -> Tensor:
        if beads < 4:
            return torch.zeros(0, k, dtype=torch.int64)
        rows = [torch.randperm(beads, generator=generator)[:k] for _ in range(beads)]
        rows += [torch.cat([torch.tensor([2]), r[r != 2][: k - 1]]) for r in rows[:9]]
        return torch.stack(rows)

    def parameters(terms: int, width: int) -> Tensor:
        few = torch.rand(6, width, generator=generator, dtype=torch.float64) + 0.5
        return few[torch.randint(6, (terms,), generator=generator)]

    widths = WIDTHS | {"dihedrals": 1 + 2 * orders}
    lists = {name: members(k) for name, k in FAMILIES.items()}
    near = torch.ones(beads, beads).triu(1).tril(31).nonzero()
    return Kind(
        types=torch.randint(TYPES, (beads,), generator=generator),
        excluded=near[torch.rand(len(near), generator=generator) < 0.4],
        terms={n: KindTerms(m, parameters(len(m), widths[n])) for n, m in lists.items()},
    )


def make(orders: int = 3) -> Molecules:
    generator = torch.Generator().manual_seed(4)
    kinds = tuple(random_kind(size, orders, generator) for size in (21, 1, 70))
    sigma = torch.rand(TYPES, TYPES, generator=generator, dtype=torch.float64) + 3.0
    # A grid with a random shift: no two beads come close, and no term is singular.
    grid = torch.cartesian_prod(*[torch.arange(6.0, dtype=torch.float64) * 3.0] * 3)
    grid = grid[torch.randperm(len(grid), generator=generator)[: sum(SIZES)]]
    shift = torch.rand(grid.shape, generator=generator, dtype=torch.float64) * 1.5
    return Molecules((grid + shift).float().double(), kinds, sigma + sigma.T)


def energies(molecules: Molecules, x: Tensor, repulsion_only: bool = False) -> Tensor:
    """Return the energy of each molecule by autograd-friendly lists, in the dtype of `x`."""
    found, first = [], 0
    for size, number in zip(SIZES, KINDS, strict=True):
        kind, own = molecules.kinds[number], x[first : first + size]
        keep = torch.ones(size, size, dtype=torch.bool).triu(1)
        keep[kind.excluded[:, 0], kind.excluded[:, 1]] = False
        pairs = keep.nonzero()
        sigma = molecules.sigma[kind.types[pairs[:, 0]], kind.types[pairs[:, 1]]].to(x.dtype)
        total = reference.repulsion(own, pairs, sigma).double().sum()
        if not repulsion_only:
            lists = {n: (t.members, t.parameters.to(x.dtype)) for n, t in kind.terms.items()}
            members, p = lists["bonds"]
            total += reference.harmonic_bonds(own, members, p[:, 0], p[:, 1]).double().sum()
            members, p = lists["angles"]
            total += reference.cosine_angles(own, members, p[:, 0], p[:, 1]).double().sum()
            members, p = lists["dihedrals"]
            orders = p.shape[1] // 2
            series = p[:, 0], p[:, 1 : 1 + orders], p[:, 1 + orders :]
            total += reference.fourier_dihedrals(own, members, *series).double().sum()
        found.append(total)
        first += size
    return torch.stack(found)


def by_autograd(molecules: Molecules, dtype: torch.dtype, **options) -> tuple[Tensor, Tensor]:
    x = molecules.positions.to(dtype).requires_grad_()
    energy = energies(molecules, x, **options)
    return energy.detach(), torch.autograd.grad(energy.sum(), x)[0]


def per_molecule(energy: Tensor) -> Tensor:
    return torch.stack([part.double().sum() for part in energy.cpu().split(list(SIZES))])


@pytest.fixture(scope="module")
def molecules() -> Molecules:
    return make()


@pytest.fixture(params=["triton", "cpu"])
def kernel(request, triton_device):
    if request.param == "cpu":
        pytest.importorskip("numba")
    else:
        pytest.importorskip("triton")
    module = importlib.import_module(f"flashschnet_kernels.priors.{request.param}")
    return module, triton_device if request.param == "triton" else CPU


def evaluated(kernel, molecules, dtype, before=None) -> tuple[Tensor, Tensor]:
    module, device = kernel
    x = molecules.positions.to(device, dtype)
    energy, gradient = x.new_full((len(x),), torch.nan), torch.full_like(x, torch.nan)
    if before is not None:
        energy, gradient = (part.to(device, dtype, copy=True) for part in before)
    layout = molecules.layout(dtype, device)
    module.evaluate(x, layout, energy, gradient, before is not None)
    return energy, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("orders", [1, 3, 5])
def test_energy_and_gradient(kernel, dtype, orders):
    molecules = make(orders)
    runs = [evaluated(kernel, molecules, dtype) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    exact, eager = (by_autograd(molecules, d) for d in (torch.float64, dtype))
    energy, gradient = runs[0]
    error = (per_molecule(energy) - exact[0]).norm() / exact[0].norm()
    assert float(error) < {torch.float32: 1e-6, torch.float64: 1e-14}[dtype]
    assert_as_exact_as_eager(gradient.cpu(), eager[1], exact[1])


def test_it_adds_to_what_is_there(kernel, molecules):
    fresh = evaluated(kernel, molecules, torch.float64)
    before = torch.rand_like(fresh[0]), torch.rand_like(fresh[1])
    added = evaluated(kernel, molecules, torch.float64, before)
    for new, old, there in zip(added, fresh, before, strict=True):
        torch.testing.assert_close(new, old + there.to(old), rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_the_energy(kernel, molecules):
    """Finite differences of the kernel itself, in a random direction."""
    _, gradient = evaluated(kernel, molecules, torch.float64)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1)).double()
    step, sums = 1e-5, []
    for sign in (1.0, -1.0):
        moved = Molecules(
            molecules.positions + sign * step * direction, molecules.kinds, molecules.sigma
        )
        sums.append(evaluated(kernel, moved, torch.float64)[0].sum())
    slope = float((gradient.cpu() * direction).sum())
    assert float((sums[0] - sums[1]) / (2 * step)) == pytest.approx(slope, rel=1e-7)


def test_coincident_and_collinear_beads_are_not_silent(kernel):
    molecules = make()
    dihedral = molecules.kinds[0].terms["dihedrals"].members[0]
    x = molecules.positions.clone()
    x[dihedral[2]] = 2.0 * x[dihedral[1]] - x[dihedral[0]]
    broken = Molecules(x, molecules.kinds, molecules.sigma)
    _, gradient = evaluated(kernel, broken, torch.float32)
    assert float(gradient[:21].abs().nan_to_num(torch.inf, torch.inf).max()) > 1e4
    assert gradient[21:].isfinite().all()


@pytest.fixture(scope="module")
def triton_module(triton_device):
    return pytest.importorskip("flashschnet_kernels.priors.triton")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repulsion_alone_with_autograd(triton_module, triton_device, molecules, dtype):
    weight = torch.arange(1.0, len(SIZES) + 1, dtype=torch.float64)
    layout = molecules.layout(dtype, triton_device)
    x = molecules.positions.to(triton_device, dtype).requires_grad_()
    found = triton_module.repulsion(x, layout)
    (slope,) = torch.autograd.grad((found * weight.to(triton_device)).sum(), x)
    energy, gradient = by_autograd(molecules, torch.float64, repulsion_only=True)
    gradient = gradient * weight.repeat_interleave(torch.tensor(SIZES))[:, None]
    limit = {torch.float32: 3e-6, torch.float64: 1e-12}[dtype]
    assert float((found.detach().cpu() - energy).norm() / energy.norm()) < limit
    assert float((slope.cpu().double() - gradient).norm() / gradient.norm()) < limit


def test_second_derivatives_are_refused(triton_module, triton_device, molecules):
    layout = molecules.layout(torch.float64, triton_device)
    x = molecules.positions.to(triton_device).requires_grad_()
    energy = triton_module.repulsion(x, layout).sum()
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(energy, x, create_graph=True)


def test_pairs_that_do_not_repel_far_along_the_chain_are_refused():
    kind = make().kinds[2]
    far = Kind(kind.types, torch.tensor([[3, 35]]), kind.terms)
    with pytest.raises(ValueError, match=r"beads (3 and 35|35 and 3) .*priors=reference"):
        lay_out((70,), (0,), (far,), torch.ones(TYPES, TYPES), torch.float32, CPU)


def test_a_molecule_that_is_not_as_large_as_its_kind_is_refused(molecules):
    with pytest.raises(ValueError, match="molecule 1 has 22 beads, its kind 21"):
        lay_out((21, 22), (0, 0), molecules.kinds, molecules.sigma, torch.float32, CPU)


def test_tensors_that_do_not_belong_together_are_refused(kernel, molecules):
    module, device = kernel
    layout = molecules.layout(torch.float32, device)
    x = molecules.positions.to(device, torch.float32)
    energy, gradient = x.new_empty(len(x)), torch.empty_like(x)
    with pytest.raises(ValueError, match=f"of {len(x)} beads"):
        module.evaluate(x[1:], layout, energy, gradient, False)
    with pytest.raises(ValueError, match="dtype"):
        module.evaluate(x.double(), layout, energy, gradient, False)
