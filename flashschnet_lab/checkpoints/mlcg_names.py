"""Names of weights: mlcg's StandardSchNet and ours, in both directions."""

from __future__ import annotations

import re

from torch import Tensor

from flashschnet_lab.errors import UserError

_TO_OURS = (
    (r"embedding_layer\.weight", r"embedding.weight"),
    (r"rbf_layer\.(means|offset)", r"radial_basis.centres"),
    (r"rbf_layer\.betas", r"radial_basis.betas"),
    (r"rbf_layer\.coeff", r"radial_basis.coefficient"),
    (r"interaction_blocks\.(\d+)\.conv\.lin1\.weight", r"blocks.\1.to_channels.weight"),
    (r"interaction_blocks\.(\d+)\.conv\.lin2\.(weight|bias)", r"blocks.\1.update.0.\2"),
    (
        r"interaction_blocks\.(\d+)\.conv\.filter_network\.layers\.([02])\.(weight|bias)",
        r"blocks.\1.filter_network.\2.\3",
    ),
    (r"interaction_blocks\.(\d+)\.lin\.(weight|bias)", r"blocks.\1.update.2.\2"),
    (r"output_network\.layers\.(\d+)\.(weight|bias)", r"output.\1.\2"),
)
_TO_MLCG = (
    (r"embedding\.weight", r"embedding_layer.weight"),
    (r"radial_basis\.betas", r"rbf_layer.betas"),
    (r"radial_basis\.coefficient", r"rbf_layer.coeff"),
    (r"blocks\.(\d+)\.to_channels\.weight", r"interaction_blocks.\1.conv.lin1.weight"),
    (r"blocks\.(\d+)\.update\.0\.(weight|bias)", r"interaction_blocks.\1.conv.lin2.\2"),
    (
        r"blocks\.(\d+)\.filter_network\.([02])\.(weight|bias)",
        r"interaction_blocks.\1.conv.filter_network.layers.\2.\3",
    ),
    (r"blocks\.(\d+)\.update\.2\.(weight|bias)", r"interaction_blocks.\1.lin.\2"),
    (r"output\.(\d+)\.(weight|bias)", r"output_network.layers.\1.\2"),
)


def to_ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of mlcg's StandardSchNet under our names.

    Raises:
        UserError: weights that our network has no place for, all named.
    """
    return renamed(state, _TO_OURS, "mlcg's StandardSchNet")


def to_mlcg(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of our SchNet under the names of mlcg's StandardSchNet."""
    centres = "means" if "radial_basis.betas" in state else "offset"
    rules = (*_TO_MLCG, (r"radial_basis\.centres", f"rbf_layer.{centres}"))
    return renamed(state, rules, "our SchNet")


def renamed(
    state: dict[str, Tensor], rules: tuple[tuple[str, str], ...], what: str
) -> dict[str, Tensor]:
    """Return a state dict under other names.

    Args:
        state: weights by name.
        rules: pattern of a whole name, and what it becomes.
        what: whose weights they are, for the error.

    Raises:
        UserError: names that no rule knows, all of them.
    """
    found: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        for pattern, new in rules:
            if (match := re.fullmatch(pattern, name)) is not None:
                found[match.expand(new)] = tensor
                break
        else:
            unknown.append(name)
    if unknown:
        raise UserError(
            f"these weights have no place in {what}, as this package knows it: "
            + ", ".join(unknown[:10])
            + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else "")
        )
    return found
