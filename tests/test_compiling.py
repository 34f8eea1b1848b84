"""Where the table of a model comes from, and when it is made anew."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashschnet_kernels import plan as plans
from flashschnet_kernels.plan import KernelPlan, parse_plan
from flashschnet_lab import compiling
from flashschnet_lab.checkpoints.filter_table import table_file
from flashschnet_lab.checkpoints.native import load_model, save_model
from flashschnet_lab.cli import main
from flashschnet_lab.compiling import compile_model, judged_conformations, table_for
from flashschnet_lab.errors import UserError
from flashschnet_lab.loading import default_prior
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.tables import class_of, network_digest
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.system import Model, System, build_force_field
from flashschnet_lab.training.registry import registry_text

TABLE = KernelPlan(filters="table-balanced")


def network_of(seed: int, types: int = 25) -> SchNet:
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = SchNet(
        SchNetShape(
            types=types, hidden=16, channels=16, blocks=2, radial_functions=16, output_widths=(8,)
        )
    )
    torch.random.set_rng_state(state)
    return network


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """An empty memory and an empty cache folder."""
    monkeypatch.setattr(compiling, "_made", {})
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def system() -> System:
    return System(
        build_chain("AGPWYK", "helix"), Model("tiny", default_prior("five_bead"), network_of(2))
    )


@pytest.fixture
def saved(tmp_path, system) -> System:
    """The same, read from a folder."""
    save_model(system.model, tmp_path / "model")
    return replace(system, model=load_model(tmp_path / "model"))


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """The classes of all tables that are made, in order."""
    found: list[str] = []
    choose = compiling.choose_table

    def watched(judge, precision_class):
        found.append(precision_class)
        return choose(judge, precision_class)

    monkeypatch.setattr(compiling, "choose_table", watched)
    return found


def forget() -> None:
    compiling._made.clear()


def test_it_is_made_once_and_kept(system, made, own_cache, caplog):
    with caplog.at_level(logging.INFO):
        first = table_for(system, "balanced")
    assert "making the table of filters of tiny, class balanced" in caplog.text
    assert table_for(system, "balanced") is first
    forget()
    again = table_for(system, "balanced")
    assert made == ["balanced"]
    assert torch.equal(again.table.coefficients, first.table.coefficients)
    assert again.achieved_error == first.achieved_error
    (path,) = own_cache.rglob("*.safetensors")
    assert path.parent.name == network_digest(system.model.network)[:16]
    table_for(system, "fast")
    assert made == ["balanced", "fast"]


def test_other_weights_need_another(system, made):
    table_for(system, "balanced")
    with torch.no_grad():
        system.model.network.output[0].weight[0, 0] += 0.1
    table_for(system, "balanced")
    assert made == ["balanced"] * 2


def test_the_file_next_to_the_model_comes_first(saved, made, own_cache):
    (compiled,) = compile_model(saved, ["balanced"])
    path = table_file(saved.model.folder, "balanced")
    assert path.is_file()
    forget()
    assert table_for(saved, "balanced").achieved_error == compiled.achieved_error
    assert made == ["balanced"]
    assert not own_cache.exists()


@pytest.mark.parametrize("spoil", ["truncated", "stale"])
def test_a_file_that_is_no_good_is_named_and_not_used(saved, made, caplog, spoil):
    folder = saved.model.folder
    if spoil == "truncated":
        compile_model(saved, ["balanced"])
        path = table_file(folder, "balanced")
        path.write_bytes(path.read_bytes()[:5000])
        reason = "cannot be read"
    else:
        other = Model("other", saved.model.prior, network_of(3), folder=folder)
        compile_model(replace(saved, model=other), ["balanced"])
        path = table_file(folder, "balanced")
        reason = "was made for other weights"
    forget()
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        table = table_for(saved, "balanced")
    assert str(path) in caplog.text and reason in caplog.text
    assert made == ["balanced"] * 2
    assert table.digest == network_digest(saved.model.network)
    assert path.read_bytes() == before  # the folder of a model is written by `compile` alone


def test_a_cache_that_cannot_be_written_is_no_error(system, made, own_cache, caplog):
    own_cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.INFO):
        table_for(system, "balanced")
    assert "cannot be written" in caplog.text
    forget()
    table_for(system, "balanced")
    assert made == ["balanced"] * 2


def test_a_damaged_cache_is_written_anew(system, made, own_cache):
    table_for(system, "balanced")
    (path,) = own_cache.rglob("*.safetensors")
    good = path.read_bytes()
    path.write_bytes(good[:-1])
    forget()
    table_for(system, "balanced")
    assert made == ["balanced"] * 2
    assert path.stat().st_size == len(good)
    forget()
    table_for(system, "balanced")
    assert len(made) == 2


def test_the_cache_folder_is_the_user_s(monkeypatch):
    monkeypatch.undo()
    folder = compiling.cache_folder()
    assert folder.is_absolute()
    assert folder.parts[-2:] == ("flashschnet-lab", "filters") or "flashschnet-lab" in str(folder)


def test_what_it_is_judged_on():
    chignolin = embedded_protein("chignolin").protein
    model = Model("m", None, network_of(2, types=chignolin.beads), "per_bead")
    names = [c.name for c in judged_conformations(System(chignolin, model))]
    assert names == [
        "chignolin, folded",
        "chignolin, displaced by 0.2 A",
        "chignolin, extended",
    ]
    beads = build_chain("AGPWYK", "helix", "ca")
    found = judged_conformations(
        System(beads, Model("m", None, network_of(2, types=6), "per_bead"))
    )
    names = [c.name.split("displaced by ")[-1] for c in found]
    first, last = (f"{beads.name}, {shape}" for shape in ("folded", "extended"))
    assert names == [first, *["0.2 A"] * 8, *["0.5 A"] * 4, last]
    large = build_chain("ACDEFGHIKLMNPQRSTVWY" * 5, "helix")
    found = judged_conformations(System(large, Model("m", None, network_of(2))))
    assert {len(c.positions) for c in found} == {compiling.JUDGED_BEADS}
    assert {len(c.bead_types) for c in found} == {compiling.JUDGED_BEADS}
    one, two = (judged_conformations(System(chignolin, model))[1] for _ in range(2))
    assert torch.equal(one.positions, two.positions)


def test_a_force_field_gets_its_table(system, made):
    x = torch.from_numpy(system.protein.positions)
    bare = replace(system, model=replace(system.model, prior=None))
    exact = build_force_field([bare], dtype=torch.float64)(x)
    found = build_force_field([bare], dtype=torch.float64, plan=TABLE)(x)
    error = float((found.forces - exact.forces).norm() / exact.forces.norm())
    assert 0.0 < error <= class_of("balanced").table_tolerance
    assert made == ["balanced"]
    single = build_force_field([bare] * 2, plan=TABLE)(torch.stack([x, x]).float())
    torch.testing.assert_close(single.forces[1].double(), found.forces, rtol=1e-4, atol=1e-4)


def test_a_model_without_network_needs_none(system, made):
    bare = replace(system, model=replace(system.model, network=None))
    x = torch.from_numpy(system.protein.positions)
    plain, table = (build_force_field([bare], plan=plan)(x) for plan in (KernelPlan(), TABLE))
    assert torch.equal(plain.forces, table.forces)
    assert not made


def test_plans_that_cannot_do_what_is_asked(system, monkeypatch):
    monkeypatch.setattr(plans, "_interpreting", lambda: False)
    with pytest.raises(UserError, match=r"nodes=cpu works in float32.*filters=table-exact"):
        build_force_field([system], dtype=torch.float64, plan=parse_plan("exact", "cpu"))
    with pytest.raises(UserError, match="needs a GPU"):
        build_force_field([system], plan=parse_plan("exact", "cuda"))


def test_a_network_too_wide_for_fused_bead_work(system, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(plans, "_interpreting", lambda: True)
    wide = SchNet(SchNetShape(hidden=257, channels=16, blocks=1, radial_functions=8))
    unfit = replace(system, model=replace(system.model, network=wide))
    words = "layers of up to 256 numbers, not 257; use nodes=reference, or .*-float32"
    with pytest.raises(UserError, match=words):
        build_force_field([unfit], plan=parse_plan("exact", "cuda"))


def test_a_wide_network_keeps_its_beads_in_float32(system, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(plans, "_interpreting", lambda: True)
    wide = SchNet(SchNetShape(hidden=136, channels=16, blocks=1, radial_functions=8))
    unfit = replace(system, model=replace(system.model, network=wide))
    with pytest.raises(UserError, match="'fast' rounds beads .* take --plan exact or balanced"):
        build_force_field([unfit], plan=parse_plan("fast", "cuda"))


def test_compile_needs_a_network_and_a_folder(system):
    with pytest.raises(UserError, match="is in no folder"):
        compile_model(system, ["exact"])
    bare = replace(system, model=replace(system.model, network=None))
    with pytest.raises(UserError, match="has no network"):
        compile_model(bare, ["exact"])


def test_a_molecule_without_pairs(system):
    apart = system.with_positions(system.protein.positions * 1e4)
    with pytest.raises(UserError, match="no two beads within the cutoff"):
        lonely = replace(apart, protein=build_chain("G", "helix", "ca"))
        table_for(lonely, "balanced")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    return exit_.value.code or 0


@pytest.fixture
def chignolin(tmp_path) -> Path:
    """A model folder for chignolin with a small network."""
    protein = embedded_protein("chignolin").protein
    network = network_of(4, types=protein.beads)
    model = Model("small", None, network, "per_bead", only_for=protein.fingerprint())
    save_model(model, tmp_path / "chignolin")
    return tmp_path / "chignolin"


def test_compile_on_the_command_line(chignolin, capsys):
    assert run("compile", chignolin, "--class", "fast") == 0
    assert [p.name for p in chignolin.glob("filters-*")] == ["filters-fast.safetensors"]
    assert run("compile", chignolin) == 0
    shown = capsys.readouterr().out
    assert "pieces" in shown and "chignolin, extended" in shown
    assert {p.name for p in chignolin.glob("filters-*")} == {
        f"filters-{name}.safetensors" for name in ("exact", "balanced", "fast")
    }
    save_model(load_model(chignolin), chignolin)  # another model: its tables are gone
    assert not list(chignolin.glob("filters-*"))


def test_mistakes_of_compile(tmp_path, chignolin, saved, capsys):
    for arguments, words in (
        ((tmp_path / "nowhere",), "not a model folder"),
        ((saved.model.folder,), "name one to verify the table on"),
        ((chignolin, "--protein", "trpcage"), "made for one other protein"),
        ((chignolin, "--protein", "trpcage", "--pdb", "x.pdb"), "either --protein or --pdb"),
        ((chignolin, "--class", "rough"), "rough"),
    ):
        assert run("compile", *arguments) == 2
        assert words in " ".join(capsys.readouterr().err.split())
    assert run("compile", saved.model.folder, "--protein", "chignolin", "--class", "fast") == 0


def test_the_registry_of_the_data_leaves_tables_out(tmp_path):
    folder = tmp_path / "data" / "models" / "one"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "filters-exact.safetensors").write_text("")
    assert registry_text(tmp_path / "data").count("[[file]]") == 1
