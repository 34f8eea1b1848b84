"""Sums over pairs with filters from a table on a CPU, against the definition in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashschnet_kernels.filter_table.table import FilterTable
from tests.kernels.cases import CASES, CUTOFF, KINDS, Case, case_from, poisoned, scattered
from tests.kernels.tables import BLOCKS, by_definition, table_of
from tests.kernels.tolerances import assert_as_exact_as_eager

pytest.importorskip("numba")
from flashschnet_kernels.filter_table import cpu, pairs_cpu

ALL_CASES = CASES | {
    "wide": replace(case_from(scattered(40, 14.0, seed=6)), channels=70),
    "lonely molecules": case_from(scattered(9, 5.0, seed=8), (1, 6, 1, 1)),
}


def by_kernel(case: Case, table: FilterTable, block: int):
    """Return the same from the kernels."""
    packed = cpu.pack(table)
    x = case.coordinates(torch.float32).contiguous().numpy()
    h, g = (case.random(case.beads, torch.float32, seed=seed) for seed in (1, 2))
    pairs = pairs_cpu.room_for(
        case.pairs, pairs_cpu.groups_of(case.molecule_sizes), table.knots, packed.slabs
    )
    pairs_cpu.sort(pairs, x)
    messages = cpu.forward(h, pairs, packed, block)
    g_h = cpu.backward(h, g, pairs, packed, block)
    g_x = torch.empty(case.beads, 3)
    pairs_cpu.position_gradient(pairs, x, g_x.numpy())
    slopes = pairs.slope.copy()
    assert cpu.backward(h, g, pairs, packed, block, wants_features=False) is None
    for begin, end in pairs.run_start[:, [0, -1]]:
        parts = (torch.from_numpy(part[:, begin:end]) for part in (slopes, pairs.slope))
        torch.testing.assert_close(*parts, equal_nan=True)
    return messages, g_h, g_x


@pytest.mark.parametrize("name", ALL_CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_against_the_definition(name, kind):
    case = ALL_CASES[name]
    table = table_of(case, kind)
    exact = by_definition(case, table, torch.float64, 1)
    eager = by_definition(case, table, torch.float32, 1)
    with poisoned():
        found = by_kernel(case, table, 1)
    for parts in zip(found, eager, exact, strict=True):
        assert_as_exact_as_eager(*parts)


@pytest.mark.parametrize("form", ["cubic", "compact"])
@pytest.mark.parametrize("stretch", [0.0, 5.0 / CUTOFF])
@pytest.mark.parametrize("pieces", [1, 600])
def test_every_kind_of_table(form, stretch, pieces):
    case = ALL_CASES["odd sizes"]
    table = table_of(case, form=form, stretch=stretch, pieces=pieces)
    exact = by_definition(case, table, torch.float64, 0)
    eager = by_definition(case, table, torch.float32, 0)
    for parts in zip(by_kernel(case, table, 0), eager, exact, strict=True):
        assert_as_exact_as_eager(*parts)


def test_slopes_of_blocks_add_up():
    case = ALL_CASES["odd sizes"]
    table = table_of(case)
    packed = cpu.pack(table)
    h, g = (case.random(case.beads, torch.float32, seed=seed) for seed in (1, 2))
    groups = pairs_cpu.groups_of(case.molecule_sizes)
    pairs = pairs_cpu.room_for(case.pairs, groups, table.knots, packed.slabs)
    pairs_cpu.sort(pairs, case.coordinates(torch.float32).numpy())
    single = []
    for block in range(BLOCKS):
        cpu.backward(h, g, pairs, packed, block)
        single.append(torch.from_numpy(pairs.slope.copy()))
    cpu.backward(h, g, pairs, packed, 0)
    cpu.backward(h, g, pairs, packed, 1, fresh=False)
    found = slice(0, pairs.run_start[-1, -1])
    sums = (single[0] + single[1])[:, found]
    torch.testing.assert_close(torch.from_numpy(pairs.slope)[:, found], sums, rtol=1e-5, atol=1e-6)


def test_same_bits_in_any_batch_on_any_threads_and_from_any_list(monkeypatch):
    """Molecules are grouped, pairs cut into segments: nothing of it shows."""
    molecule = scattered(30, 12.0, seed=3)
    alone = replace(case_from(molecule), channels=40)
    table = table_of(alone, pieces=60)
    batch = replace(case_from(molecule.repeat(3, 1), (30, 30, 30)), channels=40)
    every = torch.combinations(torch.arange(30)).T  # more pairs than `case_from` lists
    longer = replace(alone, pairs=every)

    rows = {seed: alone.random(30, torch.float32, seed=seed) for seed in (1, 2)}
    monkeypatch.setattr(  # the same features for every copy
        Case, "random", lambda case, beads, dtype, seed: rows[seed].repeat(beads // 30, 1)
    )

    def run(case: Case):
        return by_kernel(case, table, 0)

    expected = run(alone)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert all(map(torch.equal, run(alone), expected))
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, run(longer), expected))
    for group_beads, segment in ((320, 4096), (60, 50), (1, 7)):
        monkeypatch.setattr(pairs_cpu, "GROUP_BEADS", group_beads)
        monkeypatch.setattr(pairs_cpu, "SEGMENT", segment)
        for part, whole in zip(run(batch), expected, strict=True):
            assert all(torch.equal(copy, whole) for copy in part.split(30))


def test_rows_of_a_large_molecule(monkeypatch):
    monkeypatch.setattr(pairs_cpu, "ROW_BLOCK", 16)
    groups = pairs_cpu.groups_of((5, 40, 3))
    assert groups.team_group.tolist() == [0, 3]
    monkeypatch.setattr(pairs_cpu, "GROUP_BEADS", 20)
    groups = pairs_cpu.groups_of((5, 40, 3, 4, 16, 0, 1))
    assert groups.first_bead.tolist() == [0, 5, 21, 37, 45, 52, 69]
    assert groups.team_group.tolist() == [0, 1, 4, 5, 6]
    case = ALL_CASES["wide"]
    table = table_of(case)
    assert len(pairs_cpu.groups_of(case.molecule_sizes).first_bead) == 4
    exact = by_definition(case, table, torch.float64, 0)
    eager = by_definition(case, table, torch.float32, 0)
    for parts in zip(by_kernel(case, table, 0), eager, exact, strict=True):
        assert_as_exact_as_eager(*parts)


def test_groups_of_nothing():
    for sizes in ((), (0,), (0, 0)):
        groups = pairs_cpu.groups_of(sizes)
        assert groups.beads == 0
        assert groups.first_bead.tolist() == groups.team_group.tolist() == [0]


def test_what_is_not_a_number_stays_that():
    case = ALL_CASES["all in range"]
    broken = replace(case, positions=case.positions.clone())
    broken.positions[3, 1] = torch.nan
    messages, g_h, g_x = by_kernel(broken, table_of(case), 0)
    for values in (messages, g_h, g_x):
        assert values.isnan().any(1).all()  # everybody sees bead 3


def test_coincident_beads_have_no_direction():
    case = ALL_CASES["all in range"]
    close = replace(case, positions=case.positions.clone())
    close.positions[3] = close.positions[4]
    assert all(values.isfinite().all() for values in by_kernel(close, table_of(case), 0))


def test_wrong_input_is_refused():
    case = ALL_CASES["odd sizes"]
    table = table_of(case)
    packed = cpu.pack(table)
    groups = pairs_cpu.groups_of(case.molecule_sizes)
    pairs = pairs_cpu.room_for(case.pairs, groups, table.knots, packed.slabs)
    pairs_cpu.sort(pairs, case.coordinates(torch.float32).numpy())
    h = case.random(case.beads, torch.float32)
    with pytest.raises(TypeError, match="float64"):
        cpu.forward(h.double(), pairs, packed, 0)
    with pytest.raises(ValueError, match="23 beads and a table of 21 channels"):
        cpu.forward(h[:, 1:], pairs, packed, 0)
    with pytest.raises(ValueError, match="no 2"):
        cpu.forward(h, pairs, packed, 2)
    with pytest.raises(ValueError, match="sorted for"):
        cpu.forward(h, pairs, cpu.pack(table_of(case, pieces=9)), 0)
