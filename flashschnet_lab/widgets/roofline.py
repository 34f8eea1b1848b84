"""The roofline of measurements: what every stage could reach, and what the whole did reach.

A stage does so many FLOPs per byte that it moves. Below the ridge the bytes limit it, beyond the
arithmetic does. The model of `measure.bytes` gives each stage its place below the roof; the whole
has a place of its own, from its measured time. Flip the switch of another plan and the dots move.
Source: Williams, Waterman and Patterson, Roofline, Communications of the ACM 52(4), 65 (2009).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flashschnet_lab.errors import UserError
from flashschnet_lab.measure.work import benchmark_system
from flashschnet_lab.proteins.embedded import embedded_names
from flashschnet_lab.system import System
from flashschnet_lab.widgets.roofline_picture import Dot, name_of, roofline_picture, stage_dots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Roofline:
    """Intensity against throughput of measured plans, one at a time, with the last one as shadow.

    Attributes:
        widget: an ipywidgets box: a switch for the measurements, and the picture.

    Args:
        measurements: records of `measure.bench.measure`, or of `measure.recorded`; those without a
            prediction (a failed plan, torch.compile) are left out.
        systems: proteins that are not in the library.

    Raises:
        UserError: a protein that is unknown.
    """

    def __init__(self, measurements: Sequence[dict] = (), systems: Sequence[System] = ()) -> None:
        self._systems = {system.name: system for system in systems}
        self._records: dict[str, dict] = {}
        self._dots: dict[str, list[Dot]] = {}
        self._before: str | None = None
        self._quiet = False  # while options change, the switch moves by itself
        self._build()
        for record in measurements:
            self._take(record)
        self._offer(next(iter(self._records), None))

    @property
    def names(self) -> list[str]:
        """Names of the measurements, in their order."""
        return list(self._records)

    def add(self, record: dict) -> None:
        """Take one more measurement and show it: the dots move there.

        Raises:
            UserError: a protein that is unknown.
        """
        name = self._take(record)
        if name is not None:
            self._offer(name)

    def show(self, name: str) -> None:
        """Flip the switch to a measurement.

        Raises:
            UserError: there is none of that name.
        """
        if name not in self._records:
            raise UserError(f"there is no measurement {name!r}; there are {', '.join(self.names)}")
        self._switch.value = name

    def dots(self, name: str) -> list[Dot]:
        """Return the stages of a measurement."""
        return self._dots[name]

    def picture(self) -> Figure:
        """Draw the measurement of the switch, the one before it as a shadow."""
        name = self._switch.value
        if name is None:
            from matplotlib.figure import Figure

            return Figure(figsize=(8.0, 1.0))
        before = self._before
        shadow = (self._records[before], self._dots[before]) if before else None
        return roofline_picture(self._records[name], self._dots[name], name, shadow)

    def _take(self, record: dict) -> str | None:
        if "failed" in record or "ceilings" not in record:
            return None
        name = name_of(record)
        self._records[name], self._dots[name] = record, self._stages(record)
        return name

    def _stages(self, record: dict) -> list[Dot]:
        protein = record["work"]["protein"]
        if protein not in self._systems:
            if protein not in embedded_names():
                raise UserError(
                    f"{protein} is not in the library ({', '.join(embedded_names())}); pass it as "
                    "Roofline(measurements, systems=[system])"
                )
            self._systems[protein] = benchmark_system(protein)
        return stage_dots(record, self._systems[protein])

    def _offer(self, name: str | None) -> None:
        """Offer all measurements, and show one."""
        before, self._quiet = self._switch.value, True
        try:
            self._switch.options = self.names
            self._switch.value = name
        finally:
            self._quiet = False
        self._before = None if before == name else before
        self._redraw()

    def _flipped(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._before = change["old"]
            self._redraw()

    def _redraw(self) -> None:
        if self._switch.value is None:
            self._words.value = "nothing was measured yet"
            return
        image = io.BytesIO()
        self.picture().savefig(image, format="png")
        self._words.value, self._image.value = "", image.getvalue()

    def _build(self) -> None:
        import ipywidgets

        self._switch = ipywidgets.ToggleButtons(options=[], style={"button_width": "auto"})
        self._switch.observe(self._flipped, "value")
        self._words, self._image = ipywidgets.HTML(), ipywidgets.Image(format="png")
        self.widget = ipywidgets.VBox([self._switch, self._words, self._image])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)
