"""A prediction: commit once, then see the guess beside the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")

from flashschnet_lab.errors import UserError  # noqa: E402
from flashschnet_lab.widgets import Prediction  # noqa: E402

CHOICES = ["the filter network", "the radial basis", "the sum"]


def controls(prediction: Prediction) -> tuple[Any, Any]:
    """Return the input and the button that a reader sees."""
    row = prediction.widget.children[1]
    return row.children[0], row.children[-1]


def written(prediction: Prediction) -> str:
    """Return all words in the picture."""
    figure = prediction.picture()
    axes = figure.axes[0]
    headings = [figure.get_suptitle(), axes.get_title("left")]
    return " ".join([*headings, *(text.get_text() for text in axes.texts)])


def test_the_button_commits_what_the_slider_shows() -> None:
    guess = Prediction("How many times faster?", unit="x", low=1, high=1000)
    slider, button = controls(guess)
    assert button.description == "Commit" and guess.guess is None
    slider.value = 30.0
    button.click()
    assert guess.guess == pytest.approx(30.0)
    assert button.disabled and slider.disabled
    with pytest.raises(UserError, match="is committed"):
        guess.commit(8.0)


def test_the_button_asks_for_a_choice() -> None:
    guess = Prediction("What takes the time?", choices=CHOICES)
    radio, button = controls(guess)
    button.click()
    assert guess.guess is None and "Choose" in guess.widget.children[2].value
    radio.value = CHOICES[1]
    button.click()
    assert guess.guess == CHOICES[1]


@pytest.mark.parametrize("measured", [10, 10.0, np.float32(10), torch.tensor([10.0])])
def test_how_far_off_on_a_logarithmic_scale(measured: Any) -> None:
    guess = Prediction("How many times faster?", unit="x", low=1, high=1000)
    guess.commit(40.0)
    figure = guess.reveal(measured)
    assert figure.axes[0].get_xscale() == "log"
    assert "4 times too high" in guess.verdict()
    assert "guess: 40 x" in written(guess) and "measured: 10 x" in written(guess)


@pytest.mark.parametrize(
    ("guessed", "said"), [(9.0, "close"), (12.0, "close"), (5.0, "2 times too low")]
)
def test_a_guess_within_a_quarter_is_close(guessed: float, said: str) -> None:
    guess = Prediction("How many?", low=1, high=1000)
    guess.commit(guessed)
    guess.reveal(10.0)
    assert said in guess.verdict()


def test_a_range_from_zero_is_linear() -> None:
    guess = Prediction("How much is lost?", unit="%", low=0, high=100)
    guess.commit(60.0)
    assert guess.reveal(0.0).axes[0].get_xscale() == "linear"
    assert guess.verdict() == "your guess is 60 % too high"


def test_without_a_commitment_the_measured_value_is_shown() -> None:
    guess = Prediction("How many?", unit="x")
    guess.reveal(12.0)
    assert "no guess was made" in written(guess) and "measured: 12 x" in written(guess)
    choice = Prediction("Which?", choices=CHOICES)
    choice.reveal(CHOICES[2])
    assert "no guess was made" in written(choice) and "measured" in written(choice)


def test_a_value_beyond_the_slider_widens_the_picture() -> None:
    guess = Prediction("How many?", low=1, high=10)
    low, high = guess.reveal(5000.0).axes[0].get_xlim()
    assert low <= 1 and high >= 5000


def test_choices_are_marked() -> None:
    guess = Prediction("Which?", choices=CHOICES)
    guess.commit(CHOICES[0])
    guess.reveal(CHOICES[1])
    assert guess.verdict() == "you guessed another one"
    assert f"{CHOICES[1]}   ◀ measured" in written(guess)
    right = Prediction("Which?", choices=CHOICES)
    right.commit(CHOICES[1])
    right.reveal(CHOICES[1])
    assert right.verdict() == "your guess is right"
    assert "measured and your guess" in written(right)


def test_the_picture_always_asks() -> None:
    for guess, measured in (
        (Prediction("Which?", choices=CHOICES), CHOICES[0]),
        (Prediction("How many?"), 3),
    ):
        assert guess.question in written(guess)
        guess.reveal(measured)
        assert guess.question in written(guess)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"low": 5, "high": 5}, "below"),
        ({"low": 1, "high": float("inf")}, "below"),
        ({"choices": ["one"]}, "two or more"),
        ({"choices": ["one", "one"]}, "two or more"),
    ],
)
def test_questions_without_an_answer_are_refused(options: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Prediction("How many?", **options)


@pytest.mark.parametrize(
    ("measured", "named"), [(float("nan"), "finite"), (-1.0, "low=0"), ("many", "not a number")]
)
def test_measurements_that_make_no_sense_are_refused(measured: Any, named: str) -> None:
    with pytest.raises(UserError, match=named):
        Prediction("How many?", low=1, high=10).reveal(measured)
    with pytest.raises(UserError, match="none of"):
        Prediction("Which?", choices=CHOICES).reveal(measured)


def test_it_shows_itself_in_a_notebook() -> None:
    assert "text/plain" in Prediction("How many?")._repr_mimebundle_()
