"""SchNet for coarse-grained molecules, as the paper writes it.

    x_i     = embedding[type_i]
    h_j     = A x_j                                          (in2f, no bias)
    W_ij    = (L2 tanh(L1 rbf(r_ij) + b1) + b2) C(r_ij)      (filter network)
    m_i     = sum over neighbours j of  W_ij * h_j           (continuous-filter convolution)
    x_i    <- x_i + D tanh(B m_i + b) + d                    (update, once per block)
    E       = sum_i  output(x_i)                             (tanh network)

b2 and a last bias of the output network are there if the shape says so; CGSchNet has neither.

Sources: Schuett et al., J. Chem. Phys. 148, 241722 (2018); Charron et al., Nature Chemistry 17,
1284 (2025) for the coarse-grained shape (tanh, 15 A, the envelope inside the basis and on the
filter); TorchMD-Net 0.2.0 for a lower cutoff, where the envelope on the filter is a hump.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor, nn

from flashschnet_kernels.plan import REFERENCE, KernelPlan
from flashschnet_lab.potentials.convolution import Convolution, Neighbors, convolution
from flashschnet_lab.potentials.radial import RADIAL_BASES, ExpNormalBasis, GaussianBasis

if TYPE_CHECKING:
    from flashschnet_kernels.filter_table.table import FilterTable


@dataclass(frozen=True)
class SchNetShape:
    """Hyper-parameters of a network; the defaults are the CGSchNet shape.

    Attributes:
        types: rows of the embedding table (bead types run from 0 to types - 1).
        hidden: width of the bead features x.
        channels: width of filters and messages.
        blocks: number of interaction blocks.
        radial_functions: size of the radial basis, at least 2.
        radial_basis: "exp_normal" or "gaussian".
        cutoff: interaction range in angstrom.
        output_widths: hidden widths of the output network.
        cutoff_lower: beads closer than this, in angstrom, do not see each other.
        alpha: of the exp-normal basis, per angstrom; None is 5 / (cutoff - cutoff_lower).
        filter_bias: whether the second layer of the filter network has a bias.
        output_bias: whether the last output layer has one, so that an isolated bead has an energy.

    Raises:
        ValueError: an unknown radial basis, one too small, or cutoffs or an alpha that make none.
    """

    types: int = 25
    hidden: int = 128
    channels: int = 128
    blocks: int = 4
    radial_functions: int = 64
    radial_basis: str = "exp_normal"
    cutoff: float = 15.0
    output_widths: tuple[int, ...] = (128, 64)
    cutoff_lower: float = 0.0
    alpha: float | None = None
    filter_bias: bool = False
    output_bias: bool = False

    def __post_init__(self) -> None:
        if self.radial_basis not in RADIAL_BASES:
            raise ValueError(
                f"radial_basis {self.radial_basis!r} is unknown; known: {', '.join(RADIAL_BASES)}"
            )
        if self.radial_functions < 2:
            raise ValueError(f"radial_functions must be at least 2, not {self.radial_functions}")
        if not 0.0 <= self.cutoff_lower < self.cutoff:
            raise ValueError(
                f"cutoff_lower must lie between 0 and the cutoff, {self.cutoff} A, and is "
                f"{self.cutoff_lower}"
            )
        if self.alpha is not None and (self.radial_basis != "exp_normal" or not self.alpha > 0.0):
            raise ValueError(
                f"alpha is a positive number of the exp_normal basis alone; it is {self.alpha} and "
                f"the basis {self.radial_basis}"
            )

    def __repr__(self) -> str:
        """Name all values but those added later that are as if they were not: digests are of it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return f"SchNetShape({', '.join(f'{k}={v!r}' for k, v in _told(values).items())})"

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values; what was added later only where it is not the default."""
        return _told({**asdict(self), "output_widths": list(self.output_widths)})

    @staticmethod
    def from_dict(values: dict) -> SchNetShape:
        """Inverse of `to_dict`."""
        return SchNetShape(**{**values, "output_widths": tuple(values["output_widths"])})


_ADDED = {"cutoff_lower": 0.0, "alpha": None, "filter_bias": False, "output_bias": False}


def _told(values: dict[str, object]) -> dict[str, object]:
    """Return the values of a shape without those of `_ADDED` that are the default."""
    return {k: v for k, v in values.items() if k not in _ADDED or v != _ADDED[k]}


class InteractionBlock(nn.Module):
    """One round of messages: filters from distances, convolution, update of the features."""

    def __init__(self, shape: SchNetShape) -> None:
        super().__init__()
        self.to_channels = nn.Linear(shape.hidden, shape.channels, bias=False)
        self.filter_network = nn.Sequential(
            nn.Linear(shape.radial_functions, shape.channels),
            nn.Tanh(),
            nn.Linear(shape.channels, shape.channels, bias=shape.filter_bias),
        )
        self.update = nn.Sequential(
            nn.Linear(shape.channels, shape.hidden),
            nn.Tanh(),
            nn.Linear(shape.hidden, shape.hidden),
        )

    def filters(self, rbf: Tensor, envelope: Tensor) -> Tensor:
        """Return W(r_ij) [links, channels] from basis functions and envelope of every link."""
        filters: Tensor = self.filter_network(rbf) * envelope[:, None]
        return filters

    def forward(self, x: Tensor, convolve: Convolution) -> Tensor:
        """Return the updated features [beads, hidden]."""
        h = self.to_channels(x)  # [beads, channels]
        messages = convolve(self, h)  # [beads, channels]
        updated: Tensor = x + self.update(messages)
        return updated


class SchNet(nn.Module):
    """Energy of beads from their types and distances.

    The molecules of a batch lie end to end: replicas of one molecule and different molecules are
    the same thing here, because `pairs` never joins two molecules.
    """

    def __init__(self, shape: SchNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.types, shape.hidden)
        self.radial_basis = _radial_basis(shape)
        self.blocks = nn.ModuleList(InteractionBlock(shape) for _ in range(shape.blocks))
        layers: list[nn.Module] = []
        width = shape.hidden
        for next_width in shape.output_widths:
            layers += [nn.Linear(width, next_width), nn.Tanh()]
            width = next_width
        self.output = nn.Sequential(*layers, nn.Linear(width, 1, bias=shape.output_bias))
        self.apply(_xavier)

    def forward(
        self,
        bead_types: Tensor,
        positions: Tensor,
        neighbors: Neighbors,
        plan: KernelPlan = REFERENCE,
        table: FilterTable | None = None,
    ) -> Tensor:
        """Return the energy of every bead, [beads], in kcal/mol.

        Args:
            bead_types: [beads] int64.
            positions: [beads, 3] in angstrom, float32 or float64 as the weights.
            neighbors: which beads see each other, as the plan reads it: [2, pairs] unordered pairs
                of one molecule, `Edges`, or `Tiles`. Pairs beyond the cutoff contribute nothing, so
                any superset of the neighbours is allowed.
            plan: which implementation of each operator runs; beads are worked on here.
            table: of the filters, for a plan that reads one.
        """
        convolve = convolution(self, positions, neighbors, plan, table)
        x = self.embedding(bead_types)  # [beads, hidden]
        for block in self.blocks:
            x = block(x, convolve)
        return self.output(x).squeeze(1)


def _radial_basis(shape: SchNetShape) -> GaussianBasis | ExpNormalBasis:
    if shape.radial_basis == "gaussian":
        return GaussianBasis(shape.cutoff, shape.radial_functions, shape.cutoff_lower)
    return ExpNormalBasis(shape.cutoff, shape.radial_functions, shape.cutoff_lower, shape.alpha)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
