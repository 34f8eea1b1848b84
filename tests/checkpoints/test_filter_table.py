"""Files with tables: what is written is what is read, and nothing else is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from flashschnet_kernels.filter_table.knots import Knots
from flashschnet_kernels.filter_table.table import build_table
from flashschnet_lab.checkpoints.filter_table import (
    TableFileError,
    read_table,
    table_file,
    write_table,
)
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.table_errors import filter_networks
from flashschnet_lab.potentials.tables import CompiledTable, network_digest

CLASSES = {"balanced": "cubic", "fast": "compact"}


@pytest.fixture(scope="module")
def network() -> SchNet:
    state = torch.random.get_rng_state()
    torch.manual_seed(6)
    network = SchNet(
        SchNetShape(hidden=8, channels=8, blocks=2, radial_functions=12, output_widths=(8,))
    )
    torch.random.set_rng_state(state)
    return network


def compiled_of(network: SchNet, name: str = "balanced") -> CompiledTable:
    knots = Knots(64, 0.2, network.shape.cutoff)
    table = build_table(filter_networks(network), knots, CLASSES[name])
    return CompiledTable(table, name, 1e-5, ("a helix", "a chain"), network_digest(network))


@pytest.fixture
def path(tmp_path: Path, network: SchNet) -> Path:
    path = table_file(tmp_path, "balanced")
    write_table(compiled_of(network), path)
    return path


def read(path: Path, network: SchNet) -> CompiledTable:
    return read_table(path, network, network_digest(network), "balanced")


def change(path: Path, coefficients=None, drop: str = "", **text: object) -> None:
    """Write the file again with other text, or through a function of its tensor."""
    with safe_open(path, "pt") as file:
        kept, tensor = dict(file.metadata()), file.get_tensor("coefficients").clone()
    kept.update({key: json.dumps(value) for key, value in text.items()})
    kept.pop(drop, None)
    tensor = tensor if coefficients is None else coefficients(tensor)
    save_file({"coefficients": tensor}, path, kept)


@pytest.mark.parametrize("name", CLASSES)
def test_a_table_comes_back_to_the_bit(tmp_path, network, name):
    written = compiled_of(network, name)
    path = table_file(tmp_path / "new" / "folder", name)
    write_table(written, path)
    again = read_table(path, network, written.digest, name)
    assert torch.equal(again.table.coefficients, written.table.coefficients)
    assert again.table.knots == written.table.knots
    assert (again.table.form, again.table.unit) == (written.table.form, written.table.unit)
    for field in ("precision_class", "achieved_error", "verified_on", "digest"):
        assert getattr(again, field) == getattr(written, field)
    assert [p.name for p in path.parent.iterdir()] == [f"filters-{name}.safetensors"]


def test_a_file_that_is_there_is_replaced_at_once(path, network, monkeypatch):
    before = path.read_bytes()

    def broken(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="no space"):
        write_table(compiled_of(network), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("part", [0, 5, 8, 100, 2000, -1])
def test_a_truncated_file(path, network, part):
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(TableFileError, match="cannot be read|lacks"):
        read(path, network)


def test_a_file_that_is_something_else(path, network):
    path.write_bytes(b"\xff" * 4096)
    with pytest.raises(TableFileError, match="cannot be read"):
        read(path, network)
    save_file({"coefficients": torch.zeros(3)}, path)
    with pytest.raises(TableFileError, match="lacks 'format'"):
        read(path, network)
    path.unlink()
    path.mkdir()
    with pytest.raises(TableFileError, match="cannot be read"):
        read(path, network)


def test_other_weights(path, network):
    with pytest.raises(TableFileError, match="made for other weights"):
        read_table(path, network, "0" * 64, "balanced")
    with pytest.raises(TableFileError, match="is of the class 'balanced'"):
        read_table(path, network, network_digest(network), "fast")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"format": 99}, "format 99, not 2"),
        ({"format": None}, "format None"),
        ({"drop": "pieces"}, "lacks 'pieces'"),
        ({"pieces": 0}, "describes no table"),
        ({"pieces": "many"}, "describes no table"),
        ({"pieces": 1 << 40}, "not float32"),
        ({"stretch": -3.0}, "describes no table"),
        ({"stretch": float("nan")}, "describes no table"),
        ({"stretch": 0.0}, "does not hold the filters"),
        ({"cutoff": 9.0}, "cutoff and blocks"),
        ({"cutoff": [15.0]}, "describes no table"),
        ({"unit": [0.0]}, "cutoff and blocks"),
        ({"unit": "none"}, "describes no table"),
        ({"form": "compact"}, "form 'compact', not 'cubic'$"),
        ({"achieved_error": 0.5}, "force error of 0.5"),
        ({"achieved_error": float("nan")}, "force error of nan"),
        ({"verified_on": 3}, "describes no table"),
        ({"sha256": "0"}, "damaged"),
    ],
)
def test_text_that_is_not_true(path, network, text, message):
    change(path, **text)
    with pytest.raises(TableFileError, match=message):
        read(path, network)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:1].clone(), "not float32"),
        (lambda c: c[:, :-1].clone(), "not float32"),
        (lambda c: c.double(), "not float32"),
        (lambda c: c.index_fill(1, torch.tensor([7]), float("nan")), "damaged"),
        (lambda c: c * 1.000001, "damaged"),
    ],
)
def test_numbers_that_are_not_the_table_s(path, network, spoil, message):
    change(path, spoil)
    with pytest.raises(TableFileError, match=message):
        read(path, network)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: -c, "does not hold the filters"),
        (lambda c: c.index_fill(1, torch.tensor([7]), float("inf")), "that no table has"),
        (lambda c: c + 1e-3, "that no table has"),
    ],
)
def test_a_checksum_that_was_made_to_fit(path, network, spoil, message):
    """Whoever can compute a digest still cannot move a protein with other filters."""
    from flashschnet_lab.checkpoints import filter_table

    with safe_open(path, "pt") as file:
        wrong = spoil(file.get_tensor("coefficients").clone())
    change(path, lambda _: wrong, sha256=filter_table._sha256(wrong))
    with pytest.raises(TableFileError, match=message):
        read(path, network)


def test_a_file_too_large_to_be_one(path, network, monkeypatch):
    monkeypatch.setattr("flashschnet_lab.checkpoints.filter_table._LARGEST", 1000)
    with pytest.raises(TableFileError, match="too large"):
        read(path, network)
