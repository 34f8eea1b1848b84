"""Guess before you measure: a question, a slider or choices, and later what was true.

    guess = Prediction("How many times faster is it?", unit="x", low=1, high=1000)
    guess                      # shows a slider and the button Commit
    guess.reveal(measured)     # in a later cell: a picture of guess and measurement

A guess that was written down before is what makes a measurement surprising.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from flashschnet_lab.analysis.pictures import CHAIN_COLORS, INK
from flashschnet_lab.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURED_COLOR, GUESS_COLOR = CHAIN_COLORS[0], CHAIN_COLORS[4]
CLOSE = 1.25  # a guess within this factor counts as a hit
NO_GUESS = "no guess was made"
LETTERS_PER_LINE = 95


class Prediction:
    """A question whose answer the reader commits to before it is measured.

    Attributes:
        question: what is asked.
        guess: the committed number or choice; None before the button was pressed.
        widget: an ipywidgets box with the question, a slider or radio buttons, and a button.
    """

    def __init__(
        self,
        question: str,
        unit: str = "",
        low: float = 1.0,
        high: float = 1000.0,
        choices: Sequence[str] | None = None,
    ) -> None:
        """Ask.

        Args:
            question: what is asked, one sentence.
            unit: of the number, such as "x", "%" or "MB".
            low: smallest number of the slider. Above zero the slider is logarithmic, otherwise
                linear.
            high: largest number of the slider.
            choices: ask for one of these texts instead of a number.

        Raises:
            UserError: an empty range, or fewer than two different choices.
        """
        if choices is None and not (math.isfinite(high - low) and low < high):
            raise UserError(f"low={low} and high={high} hold no range; low must be below high")
        if choices is not None and (len(choices) < 2 or len(set(choices)) < len(choices)):
            raise UserError(f"choices={list(choices)}; give two or more different texts")
        self.question = question
        self.guess: float | str | None = None
        self._unit = unit
        self._range = (float(low), float(high))
        self._choices = None if choices is None else tuple(choices)
        self._measured: float | str | None = None
        self.widget = self._build_widget()

    def commit(self, guess: float | str) -> None:
        """Write a guess down, as the button does; it cannot be changed afterwards.

        Raises:
            UserError: there is a guess already, or it is none that the question allows.
        """
        if self.guess is not None:
            raise UserError(f"the guess {self.guess!r} is committed; ask anew for another one")
        self.guess = self._accepted(guess, "guess")
        self._input.disabled = self._button.disabled = True
        self._note.value = f"Your guess: {self._written(self.guess)}. Go on and measure."

    def reveal(self, measured: Any) -> Figure:
        """Return a picture of what was guessed, what is true, and how far apart the two are.

        Args:
            measured: a number (or an array or tensor of one), or one of the choices.

        Raises:
            UserError: not finite, not above zero on a logarithmic slider, or not a choice.
        """
        self._measured = self._accepted(measured, "measured value")
        return self.picture()

    def verdict(self) -> str:
        """Return in words how far the guess was off, once it was revealed."""
        if self.guess is None:
            return NO_GUESS
        if self._measured is None:
            return "not measured yet"
        if isinstance(self.guess, str) or isinstance(self._measured, str):
            return (
                "your guess is right" if self.guess == self._measured else "you guessed another one"
            )
        if self._logarithmic:
            ratio = self.guess / self._measured
            if 1 / CLOSE <= ratio <= CLOSE:
                return "your guess is close"
            times, side = max(ratio, 1 / ratio), "high" if ratio > 1 else "low"
            return f"your guess is {_number(times)} times too {side}"
        apart = self.guess - self._measured
        if abs(apart) <= 0.05 * (self._range[1] - self._range[0]):
            return "your guess is close"
        return f"your guess is {self._written(abs(apart))} too {'high' if apart > 0 else 'low'}"

    def picture(self) -> Figure:
        """Return the question, the guess and the measured value as they stand now."""
        from matplotlib.figure import Figure

        question = textwrap.wrap(self.question, LETTERS_PER_LINE)
        height = 1.25 if self._choices is None else 0.2 + 0.24 * len(self._choices)
        height += 0.17 * (len(question) + (self._measured is not None))
        figure = Figure(figsize=(7.0, height), dpi=100, layout="constrained")
        figure.suptitle("\n".join(question), x=0.01, ha="left", color=INK, fontsize=10)
        axes = figure.add_subplot()
        if self._choices is None:
            self._draw_numbers(axes)
        else:
            self._draw_choices(axes, self._choices)
        if self._measured is not None:
            axes.set_title(self.verdict(), color=INK, fontsize=9, style="italic", loc="left")
        axes.tick_params(colors=INK, labelsize=9)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color("#9aa4ae")
        return figure

    @property
    def _logarithmic(self) -> bool:
        return self._range[0] > 0

    def _accepted(self, value: Any, what: str) -> float | str:
        """Return a value that the question allows, as a plain number or text."""
        if self._choices is not None:
            if value not in self._choices:
                raise UserError(f"the {what} {value!r} is none of: {', '.join(self._choices)}")
            return str(value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise UserError(f"the {what} {value!r} is not a number") from None
        if not math.isfinite(number):
            raise UserError(f"the {what} is {number}; it must be finite")
        if self._logarithmic and number <= 0:
            raise UserError(f"the {what} is {number}; ask with low=0 where it may be zero or less")
        return number

    def _written(self, value: float | str) -> str:
        return value if isinstance(value, str) else f"{_number(value)} {self._unit}".rstrip()

    def _build_widget(self) -> Any:
        import ipywidgets

        if self._choices is not None:
            self._input: Any = ipywidgets.RadioButtons(options=self._choices, value=None)
            self._input.layout.width = "max-content"
        elif self._logarithmic:
            low, high = (math.log10(end) for end in self._range)
            middle, step = 10 ** ((low + high) / 2), (high - low) / 200
            self._input = ipywidgets.FloatLogSlider(
                value=middle, min=low, max=high, step=step, readout_format=",.3r"
            )
        else:
            low, high = self._range
            self._input = ipywidgets.FloatSlider(
                value=(low + high) / 2, min=low, max=high, step=(high - low) / 200
            )
        self._button = ipywidgets.Button(description="Commit")
        self._button.on_click(self._on_commit)
        self._note = ipywidgets.Label()
        question = ipywidgets.HTML(f"<b>{escape(self.question)}</b>")
        unit = ipywidgets.Label(self._unit)
        row = ipywidgets.HBox([self._input, unit, self._button])
        return ipywidgets.VBox([question, row, self._note])

    def _on_commit(self, _: Any) -> None:
        if self._input.value is None:
            self._note.value = "Choose one first."
        else:
            self.commit(self._input.value)

    def _draw_numbers(self, axes: Axes) -> None:
        """Draw the range as an axis, with a mark for the guess above and the truth below."""
        marks = [(self.guess, 0.66, GUESS_COLOR, "guess"), (self._measured, 0.3, *_MEASURED)]
        values = [float(value) for value, *_ in marks if value is not None]
        low, high = min([self._range[0], *values]), max([self._range[1], *values])
        axes.set_xscale("log" if self._logarithmic else "linear")
        axes.set_xlim(low, high)
        axes.set_ylim(0.0, 1.0)
        axes.set_yticks([])
        axes.set_xlabel(self._unit, color=INK, fontsize=9)
        for value, height, color, label in marks:
            if value is None:
                continue
            axes.axvline(float(value), color=color, linewidth=2, clip_on=False)
            here = axes.transLimits.transform(axes.transScale.transform((float(value), 0.0)))[0]
            # Beside the line, on the side that has room.
            offset, side = ((7, 0), "left") if here < 0.6 else ((-7, 0), "right")
            axes.annotate(
                f"{label}: {self._written(value)}", (float(value), height), offset,
                textcoords="offset points", ha=side, va="center", color=color, fontsize=10,
            )  # fmt: skip

    def _draw_choices(self, axes: Axes, choices: tuple[str, ...]) -> None:
        """Draw one row for each choice, with a mark at the guess and at the truth."""
        axes.spines["bottom"].set_visible(False)
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(len(choices) - 0.5, -0.5)
        axes.set_xticks([])
        axes.set_yticks([])
        for row, choice in enumerate(choices):
            true, guessed = choice == self._measured, choice == self.guess
            color = MEASURED_COLOR if true else GUESS_COLOR if guessed else INK
            notes = [label for label, on in (("measured", true), ("your guess", guessed)) if on]
            tail = f"   ◀ {' and '.join(notes)}" if notes else ""
            weight = "bold" if true else "normal"
            axes.text(0.02, row, choice + tail, color=color, va="center", fontweight=weight)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)


_MEASURED = (MEASURED_COLOR, "measured")


def _number(value: float) -> str:
    """Write a number in full, rounded to two or three digits where it has decimals."""
    if 100.0 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 10.0 else f"{value:.2g}"
