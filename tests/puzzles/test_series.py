"""The puzzles themselves: definitions against maths, and suspects that can be told apart."""

from __future__ import annotations

import pytest
import torch

from flashschnet_kernels.aggregation.reference import scatter_add
from flashschnet_kernels.edges import edges_from_pairs
from flashschnet_kernels.neighbors.reference import pairs_within
from flashschnet_kernels.radial_basis.reference import cosine_envelope, gaussian_basis
from flashschnet_lab.errors import UserError
from flashschnet_lab.puzzles import chemistry, convolution, convolution_backward, tile
from flashschnet_lab.puzzles.series import MODULES, open_puzzle
from flashschnet_lab.puzzles.specification import CATEGORIES, place_in_words
from flashschnet_lab.puzzles.values import wrong_elements

every_puzzle = pytest.mark.parametrize("name", MODULES)


@every_puzzle
def test_cases_fit_the_arguments(name):
    puzzle = open_puzzle(name)
    sizes = set()
    for case in puzzle.cases():
        assert list(case.inputs) == [argument.name for argument in puzzle.arguments[:-1]]
        for argument in puzzle.arguments[:-1]:
            value = case.inputs[argument.name]
            assert len(argument.axes) == (value.dim() if torch.is_tensor(value) else 0)
        expected = puzzle.reference(case.inputs)
        assert expected.dtype == torch.float64 and expected.isfinite().all()
        assert expected.dim() == len(puzzle.output.axes)
        assert expected.abs().max() > 0
        sizes.add(expected.shape[0])
    assert any(size % 8 for size in sizes), "no case has a block that is not full"


@every_puzzle
def test_every_suspect_can_be_told_from_the_truth(name):
    puzzle = open_puzzle(name)
    for suspect in puzzle.suspects:
        assert suspect.category in CATEGORIES
        told_apart = False
        for case in puzzle.cases():
            expected = puzzle.reference(case.inputs).numpy()
            wrong = suspect.wrong(case.inputs).double().numpy()
            assert wrong.shape == expected.shape, suspect.what
            told_apart |= bool(wrong_elements(wrong, expected, 4 * puzzle.tolerance).any())
        assert told_apart, suspect.what


@every_puzzle
def test_the_specification_is_shown(name):
    puzzle = open_puzzle(name)
    page = puzzle._repr_markdown_()
    assert all(f"`{argument.name}`" in page for argument in puzzle.arguments)
    assert page.count("**output**") == 1
    assert puzzle.picture().get_axes()


def test_an_unknown_puzzle_is_refused():
    with pytest.raises(UserError, match="distance"):
        open_puzzle("distances")


@pytest.mark.parametrize("place", range(3))
def test_the_convolution_is_that_of_the_network(place):
    inputs = chemistry.double(convolution.PUZZLE.cases()[place].inputs)
    positions, cutoff = inputs["positions"], inputs["cutoff"]
    i, j = pairs_within(positions, (len(positions),), cutoff)
    r_ij = (positions[i] - positions[j]).norm(dim=1)
    width = torch.tensor(inputs["width"])
    rbf = gaussian_basis(r_ij, inputs["centres"], -width, cutoff)
    hidden = torch.tanh(rbf @ inputs["first_weight"].T + inputs["first_bias"])
    filters = cosine_envelope(r_ij, cutoff)[:, None] * (hidden @ inputs["second_weight"].T)
    features, beads = inputs["features"], len(positions)
    expected = scatter_add(filters * features[j], i, beads)
    expected += scatter_add(filters * features[i], j, beads)
    torch.testing.assert_close(convolution.messages(inputs), expected)
    torch.testing.assert_close(tile.all_pairs(inputs), expected)


def test_the_gradient_is_that_of_finite_differences():
    inputs = chemistry.double(convolution_backward.PUZZLE.cases()[0].inputs)

    def energy(positions):
        messages = convolution.messages({**inputs, "positions": positions})
        return float((messages * inputs["message_gradient"]).sum())

    step, positions = 1e-5, inputs["positions"]
    expected = torch.empty_like(positions)
    for element in range(positions.numel()):
        shift = torch.zeros(positions.numel(), dtype=torch.float64)
        shift[element] = step
        shift = shift.view_as(positions)
        slope = (energy(positions + shift) - energy(positions - shift)) / (2 * step)
        expected.view(-1)[element] = slope
    gradient = convolution_backward.position_gradient(inputs)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-7)


def test_some_edges_lie_beyond_the_cutoff():
    for case in convolution.PUZZLE.cases()[1:]:
        positions = case.inputs["positions"]
        edges = edges_from_pairs(pairs_within(positions, (len(positions),), 11.0), len(positions))
        r_ij = (positions[edges.receiver] - positions[edges.sender]).norm(dim=1)
        if (r_ij > chemistry.CUTOFF).any():
            return
    pytest.fail("nobody would notice a missing cutoff")


def test_an_element_is_named_in_words():
    puzzle = open_puzzle("gather")
    inputs = puzzle.cases()[0].inputs
    i, j = int(inputs["receiver"][2]), int(inputs["sender"][2])
    words = place_in_words(puzzle.output, inputs, (32, 16), 2 * 16 + 5)
    assert words == f"edge 2 (i = {i}, j = {j}), channel 5"
    output = open_puzzle("cfconv_backward").output
    assert place_in_words(output, {}, (4, 3), 7) == "bead 2, component y"
