"""A model's network as a state dict in mlcg's names, for other programs: safetensors, no pickle.

import mlcg, safetensors.torch
network = mlcg.nn.StandardSchNet(...)          # the shape is in the file's metadata
network.load_state_dict(safetensors.torch.load_file("network.safetensors"))
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from flashschnet_lab.checkpoints.mlcg_names import to_mlcg
from flashschnet_lab.errors import UserError
from flashschnet_lab.system import Model


def mlcg_state(model: Model) -> dict[str, Tensor]:
    """Return the weights of a model's network under the names of mlcg's StandardSchNet.

    Raises:
        UserError: the model has no network, or one that StandardSchNet cannot be.
    """
    if model.network is None:
        raise UserError(f"model {model.name!r} has no network, so there are no weights to export")
    shape = model.network.shape
    problems = [
        name
        for name, there in (
            (f"a lower cutoff of {shape.cutoff_lower:g} A", shape.cutoff_lower != 0.0),
            ("a bias in the second layer of the filters", shape.filter_bias),
            ("a bias in the last layer of the output", shape.output_bias),
        )
        if there
    ]
    if problems:
        raise UserError(
            f"model {model.name!r} cannot be exported to mlcg, whose StandardSchNet lacks "
            + ", ".join(problems)
        )
    state = model.network.state_dict()
    return to_mlcg({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def export_state(model: Model, path: Path) -> None:
    """Write the state dict of `mlcg_state` as safetensors, the shape in its metadata.

    Raises:
        UserError: see `mlcg_state`; or the file has another ending, exists, or cannot be written.
    """
    from safetensors.torch import save_file

    if path.suffix != ".safetensors":
        raise UserError(f"{path} should end in .safetensors, which is what is written")
    if path.exists():
        raise UserError(f"{path} exists; choose another name")
    state = mlcg_state(model)
    assert model.network is not None
    shape = json.dumps(model.network.shape.to_dict())
    metadata = {"format": "pt", "model": model.name, "shape": shape}
    if model.rows is not None:
        metadata["rows"] = json.dumps(model.rows.to_dict())
    try:
        save_file(state, path, metadata)
    except OSError as error:
        raise UserError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
