"""The live simulator: a protein that moves while you heat it, pull it and change its kernels.

    from flashschnet_lab.widgets import Simulator
    simulator = Simulator(fl.load_system("chignolin"), replicas=2)
    simulator                      # the last line of a cell shows it

One worker thread (`live.Live`) owns the simulation (`experiment.Experiment`), draws and shows;
whatever a button or a method asks for is left as a note for it, so the kernel answers other cells
meanwhile.

What a browser test can hold on to. Buttons have their text: Start, Pause, Step, Reset, Pull,
Let go, Check forces. CSS classes: `fs-simulator` (the root), `fs-status` (idle, running, paused,
stopped, failed), `fs-steps` (number of steps), `fs-plan`, `fs-speed`, `fs-memory`, `fs-check`,
`fs-message` (errors and refusals), `fs-view-note` (why it is not nglview), `fs-beads` (canvas of
the bead view; `dataset.drawn` counts pictures, `dataset.x` is the first coordinate). The nglview
widget is `simulator.view.molecule.widget`; `._js(code)` runs there with `this.stage` at hand.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from flashschnet_kernels.plan import KernelPlan
from flashschnet_lab.system import System
from flashschnet_lab.widgets.experiment import Experiment
from flashschnet_lab.widgets.live import IDLE_SECONDS, RUNNING, Live
from flashschnet_lab.widgets.live_charts import LiveCharts, recording_picture
from flashschnet_lab.widgets.molecule_view import MoleculeView
from flashschnet_lab.widgets.plan_choices import assemble, switches_of
from flashschnet_lab.widgets.recording import Recording
from flashschnet_lab.widgets.simulator_view import SimulatorView
from flashschnet_lab.widgets.simulator_wiring import connect

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READING_SECONDS = 0.25
CHART_SECONDS = 0.7
CHART_SHARE = 4.0
"""Drawing curves pauses the steps, so it rests at least so many times as long as it took."""

_open: weakref.WeakSet[Simulator] = weakref.WeakSet()


class Simulator:
    """A simulation to play with: start, pause, step, reset; heat, pull, record, look back.

    Args:
        system: protein and model.
        replicas: copies; one is shown at a time.
        temperature: kelvin.
        view: "nglview", "beads" (no WebGL needed), or "auto".
        idle_seconds: it stops by itself when nobody touched it for so long.
        most_samples: so many conformations are recorded; later ones thin out the earlier ones.
        **settings: friction, timestep_fs, seed, plan, device; as for `experiment.Experiment`.

    Attributes:
        widget: root of the ipywidgets.
        experiment: the simulation and its recording; look only while it is paused.
        live: the worker and its status.
        view: the molecule.
        controls: all buttons and sliders.
        last_check: of the forces, or None.

    Raises:
        UserError: settings that cannot work.
    """

    def __init__(
        self,
        system: System,
        replicas: int = 1,
        temperature: float = 300.0,
        *,
        view: str = "auto",
        idle_seconds: float = IDLE_SECONDS,
        most_samples: int = 600,
        **settings: Any,
    ) -> None:
        self.experiment = Experiment(
            system,
            replicas=replicas,
            temperature=temperature,
            recording=Recording(most_samples),
            **settings,
        )
        self.view = MoleculeView(system.protein, view)
        self.controls = SimulatorView(self.experiment, self.view.widget)
        self.widget = self.controls.widget
        self.live = Live(self._work, self._show, idle_seconds=idle_seconds)
        self.last_check: Any = None
        self._charts = LiveCharts()
        self._last_step: int | None = None  # where a run of so many steps ends
        self._every: int | None = None  # steps between its samples
        self._look_at: int | None = None  # a sample of the recording; None: the newest
        self._unsynced = True  # the controls may say something else than the experiment
        self._next_reading, self._next_chart = 0.0, 0.0
        self._show()
        connect(self)
        _open.add(self)

    @property
    def status(self) -> str:
        """One of `live.STATUSES`."""
        return self.live.status

    @property
    def recording(self) -> Recording:
        """What was recorded: bounded samples over the whole run."""
        return self.experiment.recording

    def start(self) -> None:
        """Run until `pause`. Any other simulator that runs is paused: they would share the cores.

        Raises:
            UserError: it has failed and was not reset.
        """
        self._begin(None)

    def step(self) -> None:
        """Make one time step."""
        self._begin(self.experiment.simulation.state.step + 1)

    def run(self, steps: int, every: int | None = None) -> None:
        """Make so many steps, shown as after `start`, and return when they are done.

        For a cell that does what hands would do with Start and Pause.

        Args:
            steps: how many.
            every: record after every so many; without it, about a dozen times a second.

        Raises:
            UserError: a replica left physics.
        """
        self.live.wait()
        self._begin(self.experiment.simulation.state.step + steps, every)
        self.live.wait()

    def pause(self) -> None:
        """Finish the present steps, a tenth of a second, and rest."""
        self.live.pause()

    def reset(self) -> None:
        """Begin again where the protein started; also after a failure. Settings and plan stay."""

        def begin_again() -> None:
            self._last_step, self._look_at = None, None
            self.experiment.reset()

        self.live.reset(self._then_sync(begin_again))

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is left to do; see `live.Live.wait`."""
        return self.live.wait(seconds)

    def close(self) -> bool:
        """Stop for good and return whether the thread has ended."""
        _open.discard(self)
        return self.live.close()

    def change(self, **settings: Any) -> None:
        """Change temperature, friction, timestep_fs or replicas; see `Experiment.change`."""
        copied = self.controls.shown.value
        self._ask(lambda: self.experiment.change(**settings, copy_of=copied))

    def use_plan(self, plan: KernelPlan | str) -> None:
        """Go on under another kernel plan, or say in the widget why it cannot be."""
        self._ask(lambda: self.experiment.use_plan(plan))

    def flip(self, **switches: str) -> None:
        """Change single operators of the plan: flip(message_passing="edge_list")."""

        def use() -> None:
            self.experiment.use_plan(assemble({**switches_of(self.experiment.plan), **switches}))

        self._ask(use)

    def pull(
        self, bead: int | None = None, other: int | None = None, goal: float | None = None
    ) -> None:
        """Pull a bead away from another one; without arguments as the controls say.

        Args:
            bead, other: bead indices; at first the last and the first C-alpha.
            goal: distance in angstrom.
        """
        controls = self.controls
        ends = (
            controls.bead.value if bead is None else bead,
            controls.other.value if other is None else other,
            controls.goal.value if goal is None else goal,
        )
        self._ask(lambda: self.experiment.start_pull(*ends))

    def let_go(self) -> None:
        """Stop pulling."""
        self._ask(self.experiment.let_go)

    def check_forces(self) -> None:
        """Compare the forces with float64; the answer is shown, and kept as `last_check`."""

        def check() -> None:
            self.last_check = self.experiment.check_forces()
            self.controls.checked.value = escape(str(self.last_check))

        self._ask(check)

    def look_back(self, sample: int) -> None:
        """Pause and show a conformation of the recording; `start` goes on from the newest one."""

        def look() -> None:
            self._look_at = sample if sample < len(self.recording.samples) - 1 else None

        self.live.pause()
        self._ask(look)

    def redraw(self) -> None:
        """Show the present state again, as when another replica is chosen."""
        self._ask(lambda: None)

    def refuse(self, message: str) -> None:
        """Show a sentence below the buttons, until something else is asked for."""
        self.live.notice = message
        self.controls.show_status(self.live.status, message)

    def picture(self) -> Figure:
        """Return the recording on one page: curves, what was done when, the last conformations."""
        experiment = self.experiment
        count = experiment.simulation.replicas
        title = f"{experiment.system.name}, {count} replica{'s' * (count > 1)}"
        return recording_picture(self.recording, experiment.system.protein, title)

    def _begin(self, last_step: int | None, every: int | None = None) -> None:
        for other in list(_open):
            if other is not self and other.status == RUNNING:
                other.pause()
        self._last_step, self._every, self._look_at = last_step, every, None
        self.controls.player.playing = False
        self.live.start()

    def _work(self) -> None:
        """One chunk, in the worker."""
        step = self.experiment.simulation.state.step
        if self._last_step is None:
            self.experiment.advance()
            return
        chunk = self._every or self.experiment.chunk
        self.experiment.advance(min(chunk, self._last_step - step))
        if self.experiment.simulation.state.step >= self._last_step:
            self._last_step = None
            self.live.pause()

    def _ask(self, action: Callable[[], object]) -> None:
        self.live.request(self._then_sync(action))

    def _then_sync(self, action: Callable[[], object]) -> Callable[[], None]:
        """Return the action, after which the controls say what is true, refused or not."""

        def act() -> None:
            try:
                action()
            finally:
                self._unsynced = True

        return act

    def _show(self) -> None:
        """Show what has changed, in the worker."""
        controls, running = self.controls, self.live.status == RUNNING
        controls.show_status(self.live.status, self.live.notice)
        if self._unsynced and not self.live.has_requests:
            self._unsynced = False
            controls.show_settings(self.experiment)
        samples = self.recording.samples
        controls.show_length(len(samples), self._look_at is None and not self.live.has_requests)
        looking = samples[-1 if self._look_at is None else self._look_at]
        shown = min(controls.shown.value, len(looking.positions) - 1)
        self.view.show(looking.positions[shown])
        now = time.monotonic()
        if now >= self._next_reading or not running:
            controls.show_reading(self.experiment, shown)
            self._next_reading = now + READING_SECONDS
        if now >= self._next_chart or not running:
            here = None if self._look_at is None else looking.time_ps
            controls.charts.value = self._charts.png(self.recording, shown, here)
            took = time.monotonic() - now
            self._next_chart = now + took + max(CHART_SECONDS, CHART_SHARE * took)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)
