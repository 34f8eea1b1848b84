"""Umbrella profiles against exact answers: a double well whose free energy is a formula."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor, nn

pytest.importorskip("pymbar", reason="pymbar is not installed")

from flashschnet_kernels.plan import REFERENCE
from flashschnet_lab.analysis.coordinates import between
from flashschnet_lab.analysis.umbrella import overlap, umbrella_profile
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.simulation.engine import Simulation
from flashschnet_lab.simulation.umbrella import pull_into_windows, sample_windows, windows
from flashschnet_lab.system import Model, System
from flashschnet_lab.units import thermal_energy

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPERATURE = 300.0
KT = thermal_energy(TEMPERATURE)
MIDDLE, WIDTH, BARRIER, TILT = 6.0, 1.2, 6.0, 1.0  # A, A, kcal/mol, kcal/mol
CENTRES = np.linspace(4.4, 7.6, 13)
STRENGTH = 30.0  # kcal/mol/A^2
BEADS = (0, 2)
SPAN, BINS = (4.5, 7.5), 20


def well(r):
    """Energy along a distance, kcal/mol: 10 kT between the wells, deeper at the shorter one."""
    x = (r - MIDDLE) / WIDTH
    return BARRIER * (x**2 - 1.0) ** 2 + TILT * x


def exact(edges: np.ndarray) -> np.ndarray:
    """-kT ln p of bins, of a distance in space: p ~ r^2 exp(-U / kT); 0 at the lowest."""
    shares = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        r = np.linspace(low, high, 101)
        shares.append(np.trapezoid(r**2 * np.exp(-well(r) / KT), r))
    free = -KT * np.log(shares)
    return free - free.min()


def coordinate():
    return between(build_chain("G", "extended"), *BEADS)


def exact_samples(frames: int, seed: int) -> np.ndarray:
    """Independent samples of every window, [frames, windows], by inverting its distribution."""
    generator = np.random.default_rng(seed)
    r = np.linspace(3.0, 9.0, 20_001)
    columns = []
    for centre in CENTRES:
        weight = r**2 * np.exp(-(well(r) + 0.5 * STRENGTH * (r - centre) ** 2) / KT)
        cumulative = np.cumsum(weight) / weight.sum()
        columns.append(np.interp(generator.random(frames), cumulative, r))
    return np.stack(columns, 1)


def deviations(profile) -> np.ndarray:
    """How many standard errors each bin is off, but for the lowest, which is 0 by definition."""
    expected = exact(profile.edges[0])
    lowest = int(np.nanargmin(profile.free_energy))
    other = np.arange(len(expected)) != lowest
    difference = profile.free_energy - (expected - expected[lowest])
    return difference[other] / profile.error[other]


def test_exact_samples_give_the_profile_within_its_errors():
    restraint = windows(coordinate(), CENTRES, STRENGTH)
    off = []
    for seed in range(4):
        profile = umbrella_profile(
            exact_samples(300, seed), restraint, TEMPERATURE, bins=BINS, span=SPAN
        )
        assert np.isfinite(profile.free_energy).all()
        assert 0.01 < np.median(profile.error) < 0.3
        off.append(deviations(profile))
    # Neighbouring bins err together; four runs of 19 bins still tell a wrong error from a right.
    assert np.abs(off).max() < 4.5
    assert 0.4 < np.sqrt(np.mean(np.square(off))) < 1.6


def test_replicas_of_one_window_are_one_state():
    one = windows(coordinate(), CENTRES, STRENGTH)
    two = windows(coordinate(), CENTRES, STRENGTH, copies=2)
    frames = exact_samples(200, 3)
    apart = np.stack([frames[::2], frames[1::2]], axis=2).reshape(100, -1)
    of_one = umbrella_profile(frames, one, TEMPERATURE, bins=BINS, span=SPAN)
    of_two = umbrella_profile(apart, two, TEMPERATURE, bins=BINS, span=SPAN)
    close = 0.5 * np.nanmedian(of_one.error)  # other frames count as independent, few of them
    assert np.nanmedian(np.abs(of_one.free_energy - of_two.free_energy)) < close
    shuffled = np.random.default_rng(0).permutation(len(CENTRES))
    again = umbrella_profile(
        frames[:, shuffled], one.rows(shuffled.tolist()), TEMPERATURE, bins=BINS, span=SPAN
    )
    np.testing.assert_allclose(again.free_energy, of_one.free_energy, atol=1e-5)


class Wells(nn.Module):
    """The double well of a distance, in every replica."""

    def forward(self, positions: Tensor) -> Tensor:
        x = positions.reshape(-1, 4, 3)
        return well((x[:, BEADS[0]] - x[:, BEADS[1]]).double().norm(dim=-1))


@pytest.mark.physics
def test_a_simulation_of_windows_gives_the_profile_within_its_errors():
    """Replicas that start in one well are pulled over the barrier into their windows."""
    protein = build_chain("G", "extended")
    x = np.array(protein.positions)
    x[BEADS[1]] = x[BEADS[0]] + [MIDDLE - WIDTH, 0.0, 0.0]
    system = System(protein, Model("wells", default_prior("five_bead")))
    restraint = windows(coordinate(), CENTRES, STRENGTH, copies=4)
    simulation = Simulation(
        system,
        restraint.replicas,
        TEMPERATURE,
        positions=x,
        device="cpu",
        plan=REFERENCE,
        restraints=[restraint],
        minimise=True,
        timestep_fs=8.0,
        friction=5.0,
    )
    simulation.force_field.priors, simulation.force_field.contacts = None, Wells()
    simulation.restrain(*simulation.restraints)
    pull_into_windows(simulation, 200)
    np.testing.assert_array_equal(simulation.restraints[0].centres, restraint.centres)
    sample_windows(simulation, 100, 50)  # settles
    values = sample_windows(simulation, 1500, 10)
    assert overlap(values, restraint).min() > 0.1
    profile = umbrella_profile(values, restraint, TEMPERATURE, bins=BINS, span=SPAN)
    off = deviations(profile)
    assert np.median(profile.error) < 0.2
    assert np.abs(off).max() < 4.5
    assert np.sqrt(np.mean(off**2)) < 2.0


def test_overlap_of_windows():
    restraint = windows(coordinate(), [1.0, 2.0, 9.0], 1.0)
    generator = np.random.default_rng(0)
    values = generator.normal([1.0, 1.0, 9.0], 0.5, size=(4000, 3))
    shared = overlap(values, restraint)
    assert shared[0] > 0.9 and shared[1] == 0.0


def test_what_has_no_profile():
    restraint = windows(coordinate(), [4.5, 5.0], STRENGTH)
    with pytest.raises(UserError, match="frames, replicas"):
        umbrella_profile(np.zeros((5, 3)), restraint, TEMPERATURE)
    with pytest.raises(UserError, match="finite"):
        umbrella_profile(np.full((5, 2), np.nan), restraint, TEMPERATURE)
    with pytest.raises(UserError, match="copies"):
        windows(coordinate(), [4.5], 1.0, copies=0)
    free = Simulation(
        System(build_chain("G", "extended"), Model("chain", default_prior("five_bead"))),
        device="cpu",
    )
    with pytest.raises(UserError, match="no restraint"):
        sample_windows(free, 10)
