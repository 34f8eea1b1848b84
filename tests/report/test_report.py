"""The report: whole, without addresses, safe against odd names, and small."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flashschnet_lab.analysis.blocks import choose_frames
from flashschnet_lab.analysis.observables import observe
from flashschnet_lab.analysis.run_folder import open_run
from flashschnet_lab.analysis.structure import c_alpha_indices, rmsd
from flashschnet_lab.cli import app, main
from flashschnet_lab.errors import UserError
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.embedded import embedded_protein
from flashschnet_lab.report import movie as movie_module
from flashschnet_lab.report.material import gather
from flashschnet_lab.report.movie import make_movie, movie_card
from flashschnet_lab.report.sections import folding_section
from flashschnet_lab.report.write import report_html
from flashschnet_lab.simulation.exchange_record import Exchanges
from tests.trajectories import STEPS_APART, shaken, write_run

FRAMES, REPLICAS = 80, 4


@pytest.fixture(scope="module")
def protein():
    return embedded_protein("chignolin").protein


def made(folder: Path, protein, seed: int = 1, **known) -> Path:
    positions = shaken(protein, FRAMES, REPLICAS, 3.0, seed)
    energies = np.random.default_rng(seed).normal(-20.0, 4.0, size=(FRAMES, REPLICAS))
    return write_run(folder, protein, positions, energies=energies, **known)


@pytest.fixture(scope="module")
def run(protein, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "one"
    return made(folder, protein, native=protein.positions, temperatures=[300.0] * REPLICAS)


@pytest.fixture(scope="module")
def page(run) -> str:
    return report_html(gather(open_run(run)))


class Parts(HTMLParser):
    """Collects addresses, headings, ids and pictures without words."""

    VOID = ("meta", "link", "input", "br", "img", "image", "path", "use")

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.silent: list[str] = []
        self.unnamed_controls: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        for name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            if tag != "a" and given.get(name):
                self.loaded.append(given[name])
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "svg" and not given.get("aria-label"):
            self.silent.append(tag)
        if tag == "input" and given.get("type") == "range" and not given.get("aria-label"):
            self.unnamed_controls.append(given["id"])

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parts(page: str) -> Parts:
    found = Parts()
    found.feed(page)
    assert found.open == []  # what was opened was closed, in order
    return found


def test_nothing_comes_from_elsewhere(page):
    """Neither an address that would be loaded nor one anywhere else, and a policy against both."""
    found = parts(page)
    assert all(address.startswith(("#", "data:")) for address in found.loaded)
    assert not re.search(r"https?:|//[a-z]+\.[a-z]|@import|url\((?!#)|\bfetch\(|XMLHttp", page)
    assert "default-src 'none'" in page


def test_it_can_be_read_without_eyes(page):
    found = parts(page)
    assert page.count("<svg") >= 6 and found.silent == [] and found.unnamed_controls == []
    assert page.count("<h1>") == 1 and page.count("<title>") == 1
    own = ("molecule", "course", "frame", "play", "replica", "style", "native", "reset", "theme")
    for name in own:
        assert found.ids.count(name) == 1, name
    for target in re.findall(r'<a (?:class="skip" )?href="#([^"]+)"', page):
        assert found.ids.count(target) == 1


def test_its_sections(page):
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert titles == [
        "The molecule", "Over time", "Free energy", "Folding", "Structure", "Slow modes", "Facts",
    ]  # fmt: skip
    assert "Cα RMSD" in page and "Å" in page and "kcal/mol" in page


def test_odd_names_are_text_and_what_is_unknown_is_told(tmp_path, protein):
    """Of a molecule without native structure and temperature, whose name is code."""
    hostile = replace(protein, name="<script>alert(1)</script>")
    found = gather(open_run(made(tmp_path / "a&b", hostile)))
    assert set(found.table.values) == {"rg", "end_to_end", "helix", "strand"}
    text = report_html(found)
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    parts(text)
    assert "There is no native structure" in text and "does not say at which temperature" in text
    assert "Free energy</h2>" not in text and 'id="native"' not in text


def test_a_native_structure_without_contacts(tmp_path):
    stretched = build_chain("AGPWYKLE", "extended")
    positions = shaken(stretched, 30, 2, 0.5, seed=1)
    found = gather(open_run(write_run(tmp_path / "run", stretched, positions,
                                      native=stretched.positions)))  # fmt: skip
    assert "q" not in found.table.values and "rmsd" in found.table.values
    assert "has no contacts" in found.remarks[0]
    assert folding_section(found) is None


def test_a_tempering_run(tmp_path, protein):
    rungs = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])[np.arange(FRAMES + 1) % 2]
    energies = np.zeros((FRAMES, REPLICAS))
    exchanges = Exchanges((300.0, 330.0), STEPS_APART, 1, 0, rungs, energies)
    folder = made(tmp_path / "run", protein, native=protein.positions, exchanges=exchanges)
    found = gather(open_run(folder))
    assert found.temperature == 300.0
    assert found.contacts.conformations == FRAMES * REPLICAS // 2  # the cold half
    assert (found.weights > 0.0).all() and found.weights.sum() == pytest.approx(1.0)
    text = report_html(found)
    assert "Tempering</h2>" in text and "Melting, rung by rung" in text
    kelvin = json.loads(re.search(r'id="movie-data">(.*?)</script>', text)[1])["kelvin"]
    assert kelvin[0][:3] == [300.0, 330.0, 300.0]


def unpacked(card: str) -> tuple[dict, np.ndarray]:
    """Return the data of a film's card and its positions [replicas, frames, beads, 3]."""
    data = json.loads(re.search(r'id="movie-data">(.*?)</script>', card)[1])
    frames = [np.frombuffer(base64.b64decode(r["frames"]), "<i2") for r in data["replicas"]]
    shape = (len(frames), len(data["times"]), len(data["radii"]), 3)
    return data, np.stack(frames).reshape(shape) * data["resolution"]


def test_the_film_holds_the_conformations(run, protein):
    opened = open_run(run)
    table = observe(opened, ["rmsd", "q"], every=2)
    movie = make_movie(opened, choose_frames(opened.trajectory, every=2), len(table.steps))
    data, positions = unpacked(movie_card(movie, table))
    assert positions.shape == (REPLICAS, FRAMES // 2, protein.beads, 3)
    native = np.frombuffer(base64.b64decode(data["native"]), "<i2").reshape(-1, 3)
    native = native * data["resolution"]
    alphas = c_alpha_indices(protein)
    # Rounded to 0.001 A, unmirrored, and lying on the native structure already.
    assert rmsd(native, protein.positions) < 0.002
    for replica in range(REPLICAS):
        expected = table["rmsd"][:, replica]
        np.testing.assert_allclose(rmsd(positions[replica], native, alphas), expected, atol=2e-3)
        apart = np.linalg.norm(positions[replica][:, alphas] - native[alphas], axis=-1)
        np.testing.assert_allclose(np.sqrt((apart**2).mean(1)), expected, atol=2e-3)
        np.testing.assert_allclose(data["replicas"][replica]["values"][0], expected, atol=6e-4)
    np.testing.assert_allclose(data["times"], table.times_ps)
    assert movie.left_out == ""


def test_a_long_film_is_thinned_and_says_so(run, monkeypatch, protein):
    opened = open_run(run)
    frames = choose_frames(opened.trajectory)
    monkeypatch.setattr(movie_module, "MOST_FRAMES", 30)
    monkeypatch.setattr(movie_module, "FEWEST_FRAMES", 20)
    movie = make_movie(opened, frames, FRAMES, most_bytes=50 * 6 * protein.beads)
    assert movie.packed.nbytes <= 50 * 6 * protein.beads
    assert "of 80 frames, evenly spaced and 2 of 4 replicas" in movie.left_out
    np.testing.assert_array_equal(movie.replicas, [0, 3])
    table = observe(opened, ["rmsd"])
    data, _ = unpacked(movie_card(movie, table))
    np.testing.assert_allclose(data["times"], table.times_ps[movie.rows])
    # What the budget makes of a page: base64, and 1.5 MB for pictures, tables and numbers.
    assert movie_module.MOST_BYTES * 4 / 3 + 1.5e6 < 5e6


def test_a_stopped_replica_is_told(tmp_path, protein):
    positions = shaken(protein, 40, 2, 1.0, seed=1)
    positions[25:, 1] = np.nan
    folder = write_run(tmp_path / "run", protein, positions, native=protein.positions)
    opened = open_run(folder)
    table = observe(opened, ["rmsd"])
    movie = make_movie(opened, choose_frames(opened.trajectory), 40)
    card = movie_card(movie, table)
    data, _ = unpacked(card)
    values = data["replicas"][1]["values"][0]
    assert values[24] is not None and values[25:] == [None] * 15
    assert "NaN" not in card


def test_the_command(run, protein, tmp_path):
    second = made(tmp_path / "two", protein, seed=7, temperatures=[300.0] * REPLICAS)
    out = tmp_path / "report.html"
    asked = ["analyse", str(run), "--compare", str(second), "--skip", "0.4", "--every", "2"]
    result = CliRunner().invoke(app, [*asked, "--out", str(out)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "conformations" in result.output and "distance to two" in result.output
    text = out.read_text(encoding="utf-8")
    assert "Compared with two" in text and "Jensen-Shannon distance" in text
    assert "36 of 80, every 2, without the first 0.4 ps" in text
    assert out.stat().st_size < 5e6


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--skip", "99"], "no frames after the first 99 ps"),
        (["--out", "nowhere/report.html"], "the folder nowhere does not exist"),
        (["--native", "missing.pdb"], "missing.pdb"),
    ],
)
def test_mistakes_are_one_line(run, extra, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["analyse", str(run), *extra])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_another_molecule_is_not_compared(run, tmp_path):
    helix = build_chain("AGPWYK", "helix")
    other = write_run(tmp_path / "other", helix, shaken(helix, 5, 1, 1.0, seed=1))
    with pytest.raises(UserError, match="cannot be compared"):
        gather(open_run(run), other=open_run(other))
