"""The force field: the terms add up, and the forces are the gradient of their sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.batch import Batch, sum_per_molecule
from flashschnet_lab.potentials.priors import FAMILIES, Priors
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.structure_based import native_contacts
from flashschnet_lab.potentials.sum import ForceField, _deterministic
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.system import Model, System, build_force_field


@pytest.fixture(scope="module")
def full() -> System:
    """Chignolin with every kind of term: priors, contacts and a small network."""
    torch.manual_seed(3)
    network = SchNet(
        SchNetShape(hidden=16, channels=16, blocks=2, radial_functions=10, output_widths=(8,))
    )
    protein = embedded_protein("chignolin").protein
    model = Model("full", default_prior("five_bead"), network, contacts=native_contacts(protein))
    return System(protein, model)


@pytest.fixture(scope="module")
def starts() -> torch.Tensor:
    return torch.from_numpy(embedded_protein("chignolin").starts)  # [8, beads, 3]


def field(system: System, replicas: int = 1, **keywords) -> ForceField:
    return build_force_field([system] * replicas, dtype=torch.float64, **keywords)


def test_terms_add_up(full, starts):
    force_field = field(full, 3)
    parts = force_field.terms(starts[:3])
    assert list(parts) == [*FAMILIES, "contacts", "network"]
    for energy in parts.values():
        assert energy.shape == (3,)
        assert energy.dtype == torch.float64
        assert (energy != 0.0).all()
    total = torch.stack(list(parts.values())).sum(0)
    torch.testing.assert_close(force_field(starts[:3]).energy, total.detach(), rtol=0.0, atol=1e-10)


@pytest.mark.parametrize(
    ("kept", "names"),
    [("prior", list(FAMILIES)), ("contacts", ["contacts"]), ("network", ["network"])],
)
def test_each_kind_of_term_alone(full, starts, kept, names):
    model = Model("one", **{kept: getattr(full.model, kept)})
    alone = field(replace(full, model=model)).terms(starts[0])
    everything = field(full).terms(starts[0])
    assert list(alone) == names
    for name in names:
        torch.testing.assert_close(alone[name], everything[name], rtol=1e-12, atol=1e-12)


def test_forces_are_the_gradient(full, starts):
    force_field, x, step = field(full), starts[0], 1e-5
    forces = force_field(x).forces
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        along = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        along /= along.norm()
        ahead, behind = (force_field.energy(x + s * step * along).item() for s in (1, -1))
        slope = (ahead - behind) / (2.0 * step)
        assert -slope == pytest.approx((forces * along).sum().item(), rel=1e-6, abs=1e-6)


def test_layouts_of_the_positions(full, starts):
    force_field = field(full, 4)
    stacked, flat = force_field(starts[:4]), force_field(starts[:4].reshape(-1, 3))
    assert stacked.forces.shape == starts[:4].shape
    assert torch.equal(stacked.energy, flat.energy)
    assert torch.equal(stacked.forces.reshape(-1, 3), flat.forces)


def test_replicas_do_not_feel_each_other(full, starts):
    force_field = field(full, 2)
    before = force_field(starts[:2])
    after = force_field(torch.stack((starts[0], starts[5])))
    assert torch.equal(before.energy[0], after.energy[0])
    assert torch.equal(before.forces[0], after.forces[0])
    assert before.energy[1] != after.energy[1]


def test_the_caller_is_left_alone(full, starts):
    """Forces come out detached, and whether or not the caller records gradients."""
    force_field, x = field(full), starts[0].clone()
    expected = force_field(x)
    with torch.no_grad():
        found = force_field(x)
    assert torch.equal(found.forces, expected.forces)
    assert not (found.energy.requires_grad or found.forces.requires_grad or x.requires_grad)
    assert torch.equal(x, starts[0])


def test_the_same_bits_every_time(full, starts):
    force_field = field(full, 8)
    one, two = force_field(starts), force_field(starts)
    assert torch.equal(one.energy, two.energy)
    assert torch.equal(one.forces, two.forces)


@pytest.mark.parametrize("shape", [(48, 3), (50, 3), (2, 49, 3)])
def test_another_number_of_beads_is_refused(full, shape):
    with pytest.raises(ValueError, match=f"positions of {np.prod(shape) // 3} beads.*49 beads"):
        field(full)(torch.zeros(shape, dtype=torch.float64))


def test_a_force_field_without_terms_is_refused():
    with pytest.raises(ValueError, match="priors, a network or contacts"):
        ForceField(Batch((3,)))


@pytest.mark.parametrize("types", [None, torch.zeros(3, dtype=torch.int64)])
def test_a_network_needs_the_type_of_every_bead(full, types):
    with pytest.raises(ValueError, match="types of all 49 beads"):
        ForceField(Batch((49,)), network=full.model.network, bead_types=types)


def test_the_network_of_the_model_is_not_touched(full, starts):
    before = {name: p.clone() for name, p in full.model.network.named_parameters()}
    field(full)(starts[0])
    for name, parameter in full.model.network.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert torch.equal(parameter, before[name])


def test_a_bead_alone_in_the_world(full):
    """No pair, no term: the forces are zero, not an error."""
    protein = embedded_protein("chignolin").protein
    far = torch.arange(protein.beads, dtype=torch.float64)[:, None] * torch.tensor([100.0, 0, 0])
    network = Model("network", network=full.model.network)
    evaluation = field(replace(full, model=network))(far)
    assert evaluation.energy.isfinite().all()
    assert evaluation.forces.count_nonzero() == 0


def test_deterministic_sums_leave_the_global_switch_as_it_was():
    assert not torch.are_deterministic_algorithms_enabled()
    with _deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    with _deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(KeyError), _deterministic(True):
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_switch_that_was_on_stays_on():
    torch.use_deterministic_algorithms(True)
    try:
        for wanted in (True, False):
            with _deterministic(wanted):
                assert torch.are_deterministic_algorithms_enabled()
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_priors_of_another_batch_do_not_fit_by_luck(full, starts):
    """Two molecules' priors under a batch of one: the sums would differ in length."""
    priors = Priors(full.model.prior, [full.protein] * 2)
    with pytest.raises((RuntimeError, IndexError)):
        ForceField(Batch((49,)), priors)(starts[0])


def test_batch_offsets():
    batch = Batch((4, 1, 7))
    assert (batch.molecules, batch.beads, batch.offsets()) == (3, 12, [0, 4, 5])


def test_batch_lay_out():
    none = torch.zeros(0, 2, dtype=torch.int64)
    rows = [torch.tensor([[0, 1]]), none, torch.tensor([[2, 0]])]
    assert Batch((2, 5, 3)).lay_out(rows).tolist() == [[0, 1], [9, 7]]


def test_lay_out_needs_a_list_per_molecule():
    with pytest.raises(ValueError):
        Batch((2, 5)).lay_out([torch.tensor([[0, 1]])])


@pytest.mark.parametrize("counts", [(2, 2), (3, 1), (4,), (0, 4)])
def test_sum_per_molecule(counts):
    values = torch.tensor([1.0, 2.0, 4.0, 8.0])
    found = sum_per_molecule(values, counts)
    assert found.dtype == torch.float64
    assert found.tolist() == [part.sum().item() for part in values.split(list(counts))]


@pytest.mark.parametrize("counts", [(0,), (0, 0, 0)])
def test_molecules_without_rows_sum_to_zero(counts):
    assert sum_per_molecule(torch.zeros(0), counts).tolist() == [0.0] * len(counts)


def test_counts_that_do_not_add_up_are_refused():
    for counts in ((3, 3), (1, 2)):
        with pytest.raises(RuntimeError):
            sum_per_molecule(torch.ones(8), counts)


def test_many_small_numbers_do_not_lose_digits():
    values = torch.full((1_000_001,), 1e-3)
    assert sum_per_molecule(values, [1_000_001]).item() == pytest.approx(1000.001, rel=1e-7)
