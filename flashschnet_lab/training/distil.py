"""Distillation: teach a SchNet the structure-based potential of one protein.

    1. The teacher samples: half of the replicas start folded, half extended, over a ladder of
       temperatures, so that folded, unfolded and intermediate conformations are all there.
    2. The network learns the teacher's energies and forces minus those of the priors.
    3. Again and again the network itself simulates; the teacher labels where it went, and those
       frames join the training set. What a model does wrong it then sees and unlearns
       (Ross, Gordon, Bagnell, AISTATS 2011).
    4. Held-out conformations, of teacher and network runs that were never trained on, give the
       errors on the model card.

Everything is kept in a work folder, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from flashschnet_lab.errors import UserError
from flashschnet_lab.potentials.schnet import SchNet, SchNetShape
from flashschnet_lab.potentials.structure_based import DEFAULT_DEPTH
from flashschnet_lab.proteins.builder import build_chain
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.system import Model, System
from flashschnet_lab.training.data import Frames, label, sample
from flashschnet_lab.training.force_matching import (
    Errors,
    evaluate,
    fast_matmul,
    learning_rate,
    loss,
    random_batches,
)

Tell = Callable[[float, str], None]
"""Called with the finished share of the whole work, 0 to 1, and what is being done."""

SHARE_OF_SAMPLING = 0.15
CURVE_POINTS = 200
STEPS_BETWEEN_SAVES = 500
STEPS_OF_LADDER = (300.0, 350.0, 400.0, 500.0, 650.0)
"""Kelvin, for a teacher of the default depth."""


@dataclass(frozen=True)
class DistilSettings:
    """How a network is distilled; `settings_for` gives what suits a protein on a GPU.

    Attributes:
        temperatures: ladder of the sampling, kelvin.
        replicas: of the teacher's sampling, spread over the ladder.
        sampling_steps: of 4 fs per replica.
        frame_every: steps between kept frames.
        steps: optimiser steps.
        batch_size: conformations per step.
        learning_rate: highest; it falls along a cosine.
        rounds: how often the network's own trajectories join the training set.
        round_replicas: replicas of such a trajectory.
        round_steps: time steps of such a trajectory.
        radial_basis: of the network, "exp_normal" or "gaussian".
        hidden: width of features, filters and messages.
        seed: of sampling, initial weights and shuffling.
    """

    temperatures: tuple[float, ...] = STEPS_OF_LADDER
    replicas: int = 160
    sampling_steps: int = 5000
    frame_every: int = 50
    steps: int = 6000
    batch_size: int = 32
    learning_rate: float = 1e-3
    rounds: int = 3
    round_replicas: int = 80
    round_steps: int = 1000
    radial_basis: str = "exp_normal"
    hidden: int = 128
    seed: int = 1


def settings_for(protein: Protein, depth: float = DEFAULT_DEPTH) -> DistilSettings:
    """Return the settings that made the models of the package: less at once for larger proteins.

    Args:
        protein: to be taught.
        depth: of the teacher's wells, kcal/mol.
    """
    return DistilSettings(
        temperatures=ladder_for(depth),
        batch_size=min(32, max(8, 4300 // protein.beads)),
        round_replicas=min(80, max(10, 5400 // protein.beads)),
    )


def ladder_for(depth: float) -> tuple[float, ...]:
    """Return the sampling temperatures in kelvin for wells of a depth in kcal/mol.

    From 300 K, where the fold is to hold, to 325 K per kcal/mol, where about half of the chains are
    open: a fold melts at a temperature in proportion to its wells. Shallow wells keep 50 K.
    """
    coldest, hottest = STEPS_OF_LADDER[0], STEPS_OF_LADDER[-1]
    top = max(coldest + 50.0, hottest * depth / DEFAULT_DEPTH)
    stretch = (top - coldest) / (hottest - coldest)
    return tuple(round(coldest + stretch * (t - coldest), 1) for t in STEPS_OF_LADDER)


SMALL = DistilSettings(
    replicas=20,
    sampling_steps=4000,
    steps=2000,
    batch_size=8,
    learning_rate=2e-3,
    rounds=1,
    round_replicas=10,
    round_steps=300,
    hidden=64,
)
"""Minutes on two CPU cores for a ten-residue protein: for lessons, not for research."""


@dataclass(frozen=True)
class Distilled:
    """A trained network and how good it is.

    Attributes:
        model: priors and network.
        held_out: errors on the teacher's held-out trajectories.
        on_policy: errors on held-out trajectories of the network itself.
        curve: rows (step, loss).
        settings: how it was made.
    """

    model: Model
    held_out: Errors
    on_policy: Errors
    curve: list[tuple[int, float]]
    settings: DistilSettings


def distil(
    teacher: System,
    work: Path,
    settings: DistilSettings | None = None,
    *,
    device: torch.device,
    tell: Tell | None = None,
) -> Distilled:
    """Train a network on a structure-based system.

    Args:
        teacher: a protein in its native conformation with a structure-based model.
        work: folder for frames and training state; an interrupted run in it goes on.
        settings: how.
        device: where.
        tell: progress.

    Raises:
        UserError: the teacher has no contacts, or the folder belongs to other work.
    """
    settings = settings or DistilSettings()
    tell = tell or (lambda share, text: None)
    if teacher.model.contacts is None:
        raise UserError(f"{teacher.model.name} has no native contacts to distil")
    _claim(work, teacher, settings)
    frames, held_out = _teacher_frames(teacher, work, settings, device, tell)
    run = _Training(teacher, work, settings, device, frames)
    with fast_matmul(device):
        run.train(tell)
    model = run.model()
    tell(0.99, "validating")
    own = label(teacher, run.explore(model, round_number=settings.rounds + 1), device)
    types = torch.arange(teacher.protein.beads, device=device)
    network = run.network.eval()
    return Distilled(
        model=model,
        held_out=evaluate(network, types, held_out, settings.batch_size, device),
        on_policy=evaluate(network, types, own, settings.batch_size, device),
        curve=run.curve,
        settings=settings,
    )


def extended_start(system: System) -> np.ndarray:
    """Return the extended conformation [beads, 3] of a system's chain, for one or more segments."""
    protein = system.protein
    if len({r.segment for r in protein.residues}) > 1:
        return protein.positions  # several pieces have no common extended form
    return build_chain(protein.sequence, "extended", protein.mapping).positions


def ladder_starts(system: System, replicas: int) -> np.ndarray:
    """Return starts [replicas, beads, 3]: folded and extended in turn."""
    pair = np.stack([system.protein.positions, extended_start(system)])
    return pair[np.arange(replicas) % 2]


def ladder(settings: DistilSettings, replicas: int) -> np.ndarray:
    """Return temperatures [replicas]: every rung gets folded and extended starts."""
    return np.array(
        [settings.temperatures[i // 2 % len(settings.temperatures)] for i in range(replicas)]
    )


def _teacher_frames(
    teacher: System, work: Path, settings: DistilSettings, device: torch.device, tell: Tell
) -> tuple[Frames, Frames]:
    path = work / "frames.pt"
    if not path.is_file():
        kinds = {}
        for kind, replicas, every, seed in (
            ("train", settings.replicas, settings.frame_every, settings.seed),
            (
                "held_out",
                max(2 * len(settings.temperatures), settings.replicas // 8),
                10 * settings.frame_every,
                settings.seed + 1,
            ),
        ):
            positions = sample(
                teacher,
                ladder_starts(teacher, replicas),
                ladder(settings, replicas),
                steps=settings.sampling_steps,
                every=every,
                discard=settings.sampling_steps // 20,
                seed=seed,
                device=device,
                progress=lambda share, text: tell(SHARE_OF_SAMPLING * share, "teacher samples"),
            )
            kinds[kind] = asdict_tensors(label(teacher, positions, device))
        _save(kinds, path)
    loaded = torch.load(path, weights_only=True)
    return Frames(**loaded["train"]), Frames(**loaded["held_out"])


class _Training:
    """The optimiser loop and its state on disk."""

    def __init__(
        self,
        teacher: System,
        work: Path,
        settings: DistilSettings,
        device: torch.device,
        frames: Frames,
    ) -> None:
        torch.manual_seed(settings.seed)
        self.teacher, self.work, self.settings, self.device = teacher, work, settings, device
        self.frames = frames
        self.types = torch.arange(teacher.protein.beads, device=device)
        width = settings.hidden
        shape = SchNetShape(
            types=teacher.protein.beads,
            hidden=width,
            channels=width,
            radial_basis=settings.radial_basis,
            output_widths=(width, width // 2),
        )
        self.network = SchNet(shape).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate)
        self.force_scale = float(frames.forces.std())
        self.energy_scale = float(frames.energy.std())
        self.curve: list[tuple[int, float]] = []
        self.step = 0
        self._resume()

    def model(self) -> Model:
        """Return the network as it is now, with the teacher's priors."""
        protein = self.teacher.protein
        network = SchNet(self.network.shape)
        network.load_state_dict(self.network.state_dict())
        return Model(
            name=f"{protein.name} distilled from its structure-based potential",
            prior=self.teacher.model.prior,
            network=network.eval(),
            network_types="per_bead",
            only_for=protein.fingerprint(),
        )

    def train(self, tell: Tell) -> None:
        """Run the optimiser to the end, with rounds of the network's own trajectories between."""
        settings = self.settings
        every = settings.steps // (settings.rounds + 1)
        while self.step < settings.steps:
            next_round = (self.step // every + 1) * every
            self._optimise(min(settings.steps, next_round, self.step + STEPS_BETWEEN_SAVES), tell)
            round_number, rest = divmod(self.step, every)
            if rest == 0 and self.step < settings.steps and round_number <= settings.rounds:
                tell(self._share(), f"round {round_number}: the network simulates")
                positions = self.explore(self.model(), round_number)
                self.frames = self.frames.join(label(self.teacher, positions, self.device))
            self._save()

    def explore(self, model: Model, round_number: int) -> torch.Tensor:
        """Return conformations that a network visits over the whole ladder."""
        settings, replicas = self.settings, self.settings.round_replicas
        system = System(self.teacher.protein, model)
        every = max(1, settings.round_steps // 30)
        return sample(
            system,
            ladder_starts(system, replicas),
            ladder(settings, replicas),
            steps=settings.round_steps,
            every=every,
            discard=0,
            seed=settings.seed + 100 + round_number,
            device=self.device,
        )

    def _optimise(self, until: int, tell: Tell) -> None:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed + self.step)
        keep_every = max(1, settings.steps // CURVE_POINTS)
        on_device = self.frames.to(self.device)
        for batch in random_batches(on_device, settings.batch_size, generator):
            if self.step >= until:
                return
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.step, settings.steps, settings.learning_rate)
            value = loss(self.network, self.types, batch, self.force_scale, self.energy_scale)
            self.optimiser.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
            self.optimiser.step()
            self.step += 1
            if self.step % keep_every == 0:
                self.curve.append((self.step, float(value.detach())))
                tell(self._share(), f"training, loss {self.curve[-1][1]:.4f}")

    def _share(self) -> float:
        return SHARE_OF_SAMPLING + (0.98 - SHARE_OF_SAMPLING) * self.step / self.settings.steps

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "frames": asdict_tensors(self.frames),
            "curve": self.curve,
            "step": self.step,
        }
        _save(state, self.work / "training.pt")

    def _resume(self) -> None:
        path = self.work / "training.pt"
        if path.is_file():
            state = torch.load(path, weights_only=True, map_location=self.device)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.frames = Frames(**state["frames"]).to(torch.device("cpu"))
            self.curve = [(int(step), float(value)) for step, value in state["curve"]]
            self.step = state["step"]


def asdict_tensors(frames: Frames) -> dict[str, torch.Tensor]:
    """Return the fields of frames without copying them."""
    return {"positions": frames.positions, "energy": frames.energy, "forces": frames.forces}


def _claim(work: Path, teacher: System, settings: DistilSettings) -> None:
    """Mark a folder as this work's, or refuse one that is another's."""
    mine = {
        "protein": teacher.protein.fingerprint(),
        "teacher": teacher.model.digest,
        "settings": {**asdict(settings), "temperatures": list(settings.temperatures)},
    }
    path = work / "work.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != mine:
        raise UserError(
            f"{work} holds another distillation (other protein or settings); remove it or choose "
            "another folder"
        )
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")


def _save(values: dict, path: Path) -> None:
    temporary = path.with_name(path.name + ".part")
    torch.save(values, temporary)
    os.replace(temporary, path)
