"""Pictures: they build without a display, show what they must, and never mirror the molecule."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from flashschnet_lab.analysis.pictures import draw, run_picture, smooth_curve, viewing_rotation
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import Protein

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module", params=["five_bead", "ca"])
def helix(request: pytest.FixtureRequest) -> Protein:
    return build_chain("GYDPETGTWGKAILE", shape="helix", mapping=request.param)


def colors_in(figure: object) -> int:
    """Return how many different colours the saved picture has."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")  # type: ignore[attr-defined]
    colors = Image.open(buffer).convert("RGB").getcolors(1 << 24)
    return len(colors)


def test_draw(helix: Protein) -> None:
    figure = draw(helix, title="a helix")
    (axes,) = figure.axes
    assert axes.get_title() == "a helix"
    assert {"N", "C"} <= {text.get_text() for text in axes.texts}
    assert colors_in(figure) > 500


def test_draw_needs_no_pyplot(helix: Protein) -> None:
    known = "matplotlib.pyplot" in sys.modules
    draw(helix, 2.0 * helix.positions)
    assert ("matplotlib.pyplot" in sys.modules) == known


@pytest.mark.parametrize("replicas", [1, 4, 9])
def test_run_picture(helix: Protein, replicas: int) -> None:
    random = np.random.default_rng(0)
    times = np.linspace(0.0, 2.0, 30)
    energy = random.normal(-90.0, 5.0, size=(30, replicas))
    temperature = random.normal(300.0, 20.0, size=(30, replicas))
    final = helix.positions + random.normal(size=(replicas, helix.beads, 3))
    distance = random.uniform(0.5, 2.0, size=(30, replicas))
    figure = run_picture(times, energy, temperature, distance, helix, final, "a run")
    assert len(figure.axes) == 3 + min(replicas, 6)
    labels = [axes.get_ylabel() for axes in figure.axes[:3]]
    assert [label.split("(")[-1] for label in labels] == ["Å)", "kcal/mol)", "K)"]
    assert figure.axes[2].get_xlabel() == "time (ps)"
    assert f"{distance[-1, 0]:.1f} Å" in figure.axes[3].get_title()
    assert colors_in(figure) > 500


def test_run_picture_without_reference_and_with_a_stopped_replica(helix: Protein) -> None:
    energy = np.full((5, 2), -10.0)
    energy[3:, 1] = np.nan
    final = np.stack([helix.positions, helix.positions + 1.0])
    figure = run_picture(np.arange(5.0), energy, energy, None, helix, final, "a run")
    assert len(figure.axes) == 2 + 2
    assert colors_in(figure) > 500


def test_the_view_is_a_rotation_from_the_broadest_side() -> None:
    points = np.random.default_rng(1).normal(size=(50, 3)) * [1.0, 9.0, 3.0]
    rotation = viewing_rotation(points)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)  # a mirror would turn helices over
    spread = (points @ rotation).std(axis=0)
    assert spread[0] > spread[1] > spread[2]


def test_smooth_curve_passes_through_its_points() -> None:
    points = np.random.default_rng(2).normal(size=(5, 3))
    curve = smooth_curve(points, steps=4)
    assert curve.shape == (17, 3)
    np.testing.assert_allclose(curve[::4], points)
    line = np.linspace(0.0, 1.0, 5)[:, None]
    np.testing.assert_allclose(smooth_curve(line, steps=2)[:, 0], np.linspace(0.0, 1.0, 9))
