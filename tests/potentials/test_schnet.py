"""What a SchNet must obey whatever its weights: symmetries, exact forces, smoothness, batching."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_lab.potentials.radial import ExpNormalBasis, GaussianBasis
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.system import Model, System, build_force_field

BASES = ("exp_normal", "gaussian")
SMALL = SchNetShape(hidden=24, channels=16, blocks=2, radial_functions=12, output_widths=(16, 8))
TORCHMD_LIKE = replace(
    SMALL, cutoff_lower=3.0, output_widths=(16,), filter_bias=True, output_bias=True
)
SHAPES = pytest.mark.parametrize("shape", [SMALL, TORCHMD_LIKE], ids=["mlcg", "torchmd"])


def random_network(basis: str = "exp_normal", shape: SchNetShape = SMALL) -> SchNet:
    """A network whose biases are not zero, so that nothing vanishes by luck."""
    torch.manual_seed(11)
    network = SchNet(replace(shape, radial_basis=basis))
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def system(name: str, network: SchNet) -> System:
    embedded = embedded_protein(name)
    protein = embedded.protein.with_positions(embedded.starts[0])
    return System(protein, Model("test", None, network))


def force_field(*systems: System, dtype: torch.dtype = torch.float64):
    return build_force_field(systems, dtype=dtype)


@pytest.fixture(scope="module", params=BASES)
def chignolin(request) -> System:
    return system("chignolin", random_network(request.param))


def positions_of(*systems: System) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([s.protein.positions for s in systems]))


@pytest.mark.parametrize("basis", BASES)
@SHAPES
def test_the_equations_written_out(basis, shape):
    """Every pair and both its directions by a double loop, from the weights alone."""
    network = random_network(basis, shape).double()
    weights, shape = network.state_dict(), network.shape
    lower, upper = shape.cutoff_lower, shape.cutoff
    types = torch.tensor([3, 22, 7, 3])
    x = torch.tensor([[0, 0, 0], [2, 1, 3], [-4, 6, 2], [0, 0, 14.9]], dtype=torch.float64)
    beads = len(types)

    def layer(name: str, values: torch.Tensor) -> torch.Tensor:
        product = weights[f"{name}.weight"] @ values
        return product + weights.get(f"{name}.bias", torch.zeros_like(product))

    def filters(block: int, r: torch.Tensor) -> torch.Tensor:
        if not lower <= r < upper:
            return torch.zeros(shape.channels, dtype=torch.float64)
        envelope = 0.5 * (torch.cos(torch.pi * r / shape.cutoff) + 1.0)
        centres = weights["radial_basis.centres"]
        if basis == "gaussian":
            spacing = (upper - lower) / (shape.radial_functions - 1)
            rbf = envelope * torch.exp(-((r - centres) ** 2) / (2.0 * spacing**2))
        else:
            alpha, betas = 5.0 / (upper - lower), weights["radial_basis.betas"]
            rbf = envelope * torch.exp(-betas * (torch.exp(alpha * (lower - r)) - centres) ** 2)
        if lower > 0.0:
            x = (r - lower) / (upper - lower)
            envelope = 0.5 * (torch.cos(torch.pi * (2.0 * x + 1.0)) + 1.0)
        name = f"blocks.{block}.filter_network"
        return envelope * layer(f"{name}.2", torch.tanh(layer(f"{name}.0", rbf)))

    features = [weights["embedding.weight"][t] for t in types]
    for block in range(shape.blocks):
        h = [layer(f"blocks.{block}.to_channels", f) for f in features]
        messages = [
            sum(filters(block, (x[i] - x[j]).norm()) * h[j] for j in range(beads) if j != i)
            for i in range(beads)
        ]
        hidden = [torch.tanh(layer(f"blocks.{block}.update.0", m)) for m in messages]
        update = [layer(f"blocks.{block}.update.2", v) for v in hidden]
        features = [f + u for f, u in zip(features, update, strict=True)]
    expected = []
    for f in features:
        for number in range(len(shape.output_widths)):
            f = torch.tanh(layer(f"output.{2 * number}", f))
        expected.append(layer(f"output.{2 * len(shape.output_widths)}", f)[0])
    found = network(types, x, torch.triu_indices(beads, beads, 1))
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-7)


def test_translation_rotation_and_reflection(chignolin):
    field, x = force_field(chignolin), positions_of(chignolin)
    before = field(x)
    generator = torch.Generator().manual_seed(1)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    for matrix in (turn, -turn):  # one of them is a reflection: a distance has no hand
        after = field(x @ matrix.T + torch.tensor([5.0, -9.0, 30.0]))
        torch.testing.assert_close(after.energy, before.energy, rtol=1e-11, atol=0.0)
        torch.testing.assert_close(after.forces, before.forces @ matrix.T, rtol=0.0, atol=1e-10)


def test_no_net_force_and_no_torque(chignolin):
    x = positions_of(chignolin)
    forces = force_field(chignolin)(x).forces
    assert forces.abs().max() > 1e-3
    torch.testing.assert_close(forces.sum(0), torch.zeros(3, dtype=x.dtype), rtol=0.0, atol=1e-11)
    torque = torch.linalg.cross(x, forces).sum(0)
    torch.testing.assert_close(torque, torch.zeros(3, dtype=x.dtype), rtol=0.0, atol=1e-10)


def test_beads_of_one_type_are_alike(chignolin):
    field, x = force_field(chignolin), positions_of(chignolin)
    types = chignolin.protein.bead_types
    order = np.arange(len(types))
    for kind in np.unique(types):
        beads = np.flatnonzero(types == kind)
        order[beads] = beads[::-1]
    assert (order != np.arange(len(types))).sum() > 30
    before, after = field(x), field(x[order])
    torch.testing.assert_close(after.energy, before.energy, rtol=1e-11, atol=0.0)
    torch.testing.assert_close(after.forces, before.forces[order], rtol=0.0, atol=1e-11)


def test_bead_types_matter(chignolin):
    x = positions_of(chignolin)
    types = chignolin.protein.bead_types.copy()
    types[2], types[12] = types[12], types[2]  # two side chains of different residues
    other = replace(chignolin, protein=replace(chignolin.protein, bead_types=types))
    assert force_field(other)(x).energy != force_field(chignolin)(x).energy


@SHAPES
def test_forces_are_the_gradient(chignolin, shape):
    basis = chignolin.model.network.shape.radial_basis
    field = force_field(system("chignolin", random_network(basis, shape)))
    x = positions_of(chignolin)
    forces = field(x).forces
    step = 1e-4
    generator = torch.Generator().manual_seed(1)
    for bead, axis in zip(
        torch.randint(len(x), (12,), generator=generator).tolist(), [0, 1, 2] * 4, strict=True
    ):
        shift = torch.zeros_like(x)
        shift[bead, axis] = step
        slope = (field.energy(x + shift) - field.energy(x - shift)).item() / (2.0 * step)
        assert -slope == pytest.approx(forces[bead, axis].item(), abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("basis", BASES)
def test_energy_and_force_are_smooth_where_a_pair_crosses_the_cutoff(basis):
    network = random_network(basis).double()
    types = torch.tensor([3, 22, 7])
    pairs = torch.tensor([[0, 0, 1], [1, 2, 2]])

    def at(r: float) -> tuple[float, float]:
        """Beads at 0, 9 and r on a line: the pair (0, r) crosses, the pair (9, r) stays within."""
        x = torch.zeros(3, 3, dtype=torch.float64)
        x[1, 0], x[2, 0] = 9.0, r
        x.requires_grad_()
        energy = network(types, x, pairs).sum()
        alone = network(types, x, pairs[:, [0, 2]]).sum()  # without the pair that crosses
        energy = energy - alone
        (gradient,) = torch.autograd.grad(energy, x)
        return energy.item(), -gradient[2, 0].item()

    cutoff = network.shape.cutoff
    near, far = at(cutoff - 1e-3), at(cutoff - 1e-1)
    assert abs(far[1]) > 1e-7
    # The leading terms: the energy falls with the square of the distance to the cutoff, the force
    # linearly (for the filter, whose own envelope makes it so, alone).
    assert abs(near[0] / far[0]) == pytest.approx(1e-4, rel=0.1)
    assert abs(near[1] / far[1]) == pytest.approx(1e-2, rel=0.1)
    for r in (cutoff, cutoff + 1e-9, cutoff + 1.0):
        assert at(r) == (0.0, 0.0)


def test_pairs_beyond_the_cutoff_change_nothing(chignolin):
    network = random_network(chignolin.model.network.shape.radial_basis).double()
    types = torch.from_numpy(chignolin.protein.bead_types)
    beads = len(types)
    # Stretched, so that most pairs lie beyond the cutoff.
    x = (3.0 * positions_of(chignolin)).requires_grad_()
    everything = torch.triu_indices(beads, beads, 1)
    r = (x[everything[1]] - x[everything[0]]).norm(dim=1)
    within = everything[:, r < network.shape.cutoff]
    assert within.shape[1] < everything.shape[1] // 2
    results = []
    for pairs in (everything, within):
        energy = network(types, x, pairs)
        results.append((energy, *torch.autograd.grad(energy.sum(), x)))
    for all_pairs, neighbours in zip(*results, strict=True):
        torch.testing.assert_close(all_pairs, neighbours, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_energy_and_force_are_smooth_where_a_pair_crosses_the_lower_cutoff(basis):
    """Beads at 0, 9 and r on a line, as at the upper one; below it the pair (0, r) is none."""
    network = random_network(basis, TORCHMD_LIKE).double()
    types = torch.tensor([3, 22, 7])

    def at(r: float, pairs: torch.Tensor) -> tuple[float, float]:
        x = torch.tensor([[0.0, 0, 0], [9.0, 0, 0], [r, 0, 0]], dtype=torch.float64)
        energy = network(types, x.requires_grad_(), pairs).sum()
        (gradient,) = torch.autograd.grad(energy, x)
        return energy.item(), gradient[2, 0].item()

    def of_the_pair(r: float) -> tuple[float, float]:
        pairs = torch.tensor([[0, 0, 1], [1, 2, 2]])
        both, without = at(r, pairs), at(r, pairs[:, [0, 2]])
        return both[0] - without[0], both[1] - without[1]

    lower = network.shape.cutoff_lower
    near, far = of_the_pair(lower + 1e-3), of_the_pair(lower + 1e-2)
    assert abs(near[0] / far[0]) == pytest.approx(1e-2, rel=0.1)
    assert abs(near[1] / far[1]) == pytest.approx(1e-1, rel=0.1)
    for r in (lower, lower - 1e-9, 1.0):
        assert of_the_pair(r) == (0.0, 0.0)


def test_a_bead_without_neighbours_has_an_energy_and_no_force(chignolin):
    field = force_field(chignolin)
    x = positions_of(chignolin)
    x[0] += 1000.0
    forces = field(x).forces
    assert forces.isfinite().all()
    assert forces[0].count_nonzero() == 0


@pytest.mark.parametrize("basis", BASES)
def test_float32_is_close_to_float64(basis):
    chignolin = system("chignolin", random_network(basis, SchNetShape()))
    x = positions_of(chignolin)
    x -= x.mean(0)
    exact = force_field(chignolin)(x)
    rounded = force_field(chignolin, dtype=torch.float32)(x.float())
    assert rounded.forces.dtype == torch.float32
    assert rounded.energy.dtype == torch.float64
    error = (rounded.forces.double() - exact.forces).norm() / exact.forces.norm()
    assert error < 1e-5
    torch.testing.assert_close(rounded.energy, exact.energy, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("basis", BASES)
def test_different_molecules_in_one_batch_equal_separate_runs(basis):
    network = random_network(basis)
    systems = [system(name, network) for name in ("trpcage", "chignolin", "trpcage")]
    together = force_field(*systems)(positions_of(*systems))
    parts = together.forces.split([s.protein.beads for s in systems])
    for number, (one, forces) in enumerate(zip(systems, parts, strict=True)):
        alone = force_field(one)(positions_of(one))
        torch.testing.assert_close(together.energy[[number]], alone.energy, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(forces, alone.forces, rtol=0.0, atol=1e-12)


def test_whole_molecules_in_another_order(chignolin):
    other = system("trpcage", chignolin.model.network)
    one = force_field(chignolin, other)(positions_of(chignolin, other))
    two = force_field(other, chignolin)(positions_of(other, chignolin))
    torch.testing.assert_close(one.energy.flip(0), two.energy, rtol=1e-12, atol=0.0)


def test_replicas_equal_single_molecules(chignolin):
    starts = torch.from_numpy(embedded_protein("chignolin").starts[:5])
    together = force_field(*[chignolin] * 5)(starts)
    assert together.energy.shape == (5,)
    assert together.forces.shape == starts.shape
    single = force_field(chignolin)
    for replica, x in enumerate(starts):
        alone = single(x)
        torch.testing.assert_close(together.energy[[replica]], alone.energy, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(together.forces[replica], alone.forces, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_state_dict_round_trip(basis):
    network = random_network(basis)
    torch.manual_seed(99)
    other = SchNet(network.shape)
    one = system("chignolin", network)
    x = positions_of(one).float()
    energy = force_field(one, dtype=torch.float32)(x).energy
    assert force_field(system("chignolin", other), dtype=torch.float32)(x).energy != energy
    other.load_state_dict(network.state_dict())
    assert force_field(system("chignolin", other), dtype=torch.float32)(x).energy == energy


@pytest.mark.parametrize(
    "shape",
    [replace(SMALL, radial_basis="gaussian", cutoff=12.5), replace(TORCHMD_LIKE, alpha=0.4)],
)
def test_shape_round_trip(shape):
    assert SchNetShape.from_dict(shape.to_dict()) == shape


def test_a_shape_with_nothing_new_is_told_as_before():
    """Digests are of the text of a shape, and restarts and kept tables compare them."""
    assert repr(SMALL) == (
        "SchNetShape(types=25, hidden=24, channels=16, blocks=2, radial_functions=12, "
        "radial_basis='exp_normal', cutoff=15.0, output_widths=(16, 8))"
    )
    assert repr(replace(SMALL, alpha=1.0)) != repr(SMALL)
    assert list(SMALL.to_dict())[-2:] == ["cutoff", "output_widths"]
    assert repr(TORCHMD_LIKE).endswith(
        "output_widths=(16,), cutoff_lower=3.0, filter_bias=True, output_bias=True)"
    )


def test_new_parameters_have_the_usual_names():
    with_biases = replace(SMALL, filter_bias=True, output_bias=True)
    names = set(SchNet(with_biases).state_dict()) - set(SchNet(SMALL).state_dict())
    assert names == {f"blocks.{n}.filter_network.2.bias" for n in range(2)} | {"output.4.bias"}


def test_an_output_bias_is_the_energy_of_every_bead(chignolin):
    shape = replace(SMALL, output_bias=True)
    network = random_network(shape=shape)
    with torch.no_grad():
        network.output[4].bias.fill_(0.0)
    x = positions_of(chignolin)
    before = force_field(system("chignolin", network))(x)
    with torch.no_grad():
        network.output[4].bias.fill_(-2.5)
    after = force_field(system("chignolin", network))(x)
    torch.testing.assert_close(after.energy, before.energy - 2.5 * len(x))
    assert torch.equal(after.forces, before.forces)


def test_the_default_shape_is_cgschnet():
    assert sum(p.numel() for p in SchNet(SchNetShape()).parameters()) == 324_480


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match="'bessel'.*exp_normal"):
        SchNetShape(radial_basis="bessel")
    with pytest.raises(ValueError, match="at least 2"):
        SchNetShape(radial_functions=1)
    for lower in (-1.0, 15.0):
        with pytest.raises(ValueError, match=f"cutoff_lower .* 15.0 A, and is {lower}"):
            SchNetShape(cutoff_lower=lower)
    for shape in ({"alpha": 0.0}, {"alpha": 0.5, "radial_basis": "gaussian"}):
        with pytest.raises(ValueError, match="alpha is a positive number of the exp_normal basis"):
            SchNetShape(**shape)


def test_radial_bases_start_as_published():
    gaussian, exp_normal = GaussianBasis(15.0, 4), ExpNormalBasis(15.0, 4)
    assert gaussian.centres.tolist() == [0.0, 5.0, 10.0, 15.0]
    assert gaussian.coefficient.item() == pytest.approx(-0.5 / 25.0)
    assert exp_normal.alpha == pytest.approx(1.0 / 3.0)
    assert exp_normal.centres[[0, -1]].tolist() == pytest.approx([np.exp(-15.0), 1.0])
    assert exp_normal.betas.tolist() == pytest.approx([4.0] * 4, rel=1e-5)
    r = torch.tensor([5.0])
    assert gaussian(r)[0, 1].item() == pytest.approx(0.75)  # on a centre, the envelope is left
    assert exp_normal(r).shape == (1, 4)


def test_radial_bases_with_a_lower_cutoff_start_as_published():
    """TorchMD-Net 0.2.0: exp(lower - upper) and alpha = 5 / (upper - lower)."""
    gaussian, exp_normal = GaussianBasis(12.0, 4, 3.0), ExpNormalBasis(12.0, 4, 3.0)
    assert gaussian.centres.tolist() == [3.0, 6.0, 9.0, 12.0]
    assert gaussian.coefficient.item() == pytest.approx(-0.5 / 9.0)
    assert exp_normal.alpha == pytest.approx(5.0 / 9.0)
    assert exp_normal.centres[[0, -1]].tolist() == pytest.approx([np.exp(-9.0), 1.0])
    assert exp_normal.betas.tolist() == pytest.approx([4.0] * 4, rel=1e-3)
    assert ExpNormalBasis(12.0, 4, 3.0, 0.7).alpha == 0.7
    r = torch.tensor([2.9, 3.0, 12.0])
    assert exp_normal(r).count_nonzero(1).tolist() == [0, 4, 0]
