"""From a name, a structure file or a sequence to a system that can be simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flashschnet_lab.checkpoints.native import load_model, read_description
from flashschnet_lab.errors import UserError
from flashschnet_lab.paths import data_folder
from flashschnet_lab.potentials.prior_table import PriorTable, load_prior_table
from flashschnet_lab.potentials.structure_based import DEFAULT_DEPTH, native_contacts
from flashschnet_lab.proteins.library import embedded_names, embedded_protein
from flashschnet_lab.proteins.protein import Protein
from flashschnet_lab.system import Model, System


def load_system(
    which: str | Path | Protein, model: str | Path | Model | None = None, *, mapping: str = "five_bead"
) -> System:
    """Return a protein with the model that moves it.

    Args:
        which: a name of the library ("chignolin", "trpcage", "1enh"), a PDB or mmCIF file, or a
            `Protein`.
        model: a model folder or `Model`. Default: the trained network that comes with the package
            if there is one for this molecule, else the structure-based potential of the structure
            (the name of the model says so).
        mapping: for files: "five_bead" or "ca".

    Raises:
        UserError: an unknown name or file, or a model that does not fit the protein.
    """
    protein, reference = _protein(which, mapping)
    if model is None:
        chosen = trained_model(protein) or structure_based_model(reference)
    else:
        chosen = model if isinstance(model, Model) else load_model(Path(model))
    return System(protein, chosen, reference.positions)


def trained_model(protein: Protein) -> Model | None:
    """Return the network that comes with the package for a molecule, or None."""
    identity = protein.fingerprint()
    for folder in sorted((data_folder() / "models").glob("*/")):
        if (folder / "model.json").is_file() and read_description(folder)["only_for"] == identity:
            return load_model(folder)
    return None


def structure_based_model(protein: Protein, depth: float = DEFAULT_DEPTH) -> Model:
    """Return priors plus structure-based contacts of a folded structure.

    Args:
        protein: at its native conformation.
        depth: of every contact, kcal/mol.
    """
    return Model(
        name=f"structure-based potential of {protein.name} (no trained network)",
        prior=default_prior(protein.mapping),
        contacts=native_contacts(protein, depth),
        only_for=protein.fingerprint(),
    )


def default_prior(mapping: str) -> PriorTable:
    """Return the prior table that comes with the package for a mapping."""
    return load_prior_table(data_folder() / "priors" / f"{mapping}.json")


def _protein(which: str | Path | Protein, mapping: str) -> tuple[Protein, Protein]:
    """Return the protein where it starts and where its reference is."""
    if isinstance(which, Protein):
        return which, which
    if str(which).lower() in embedded_names():
        embedded = embedded_protein(str(which))
        start = embedded.starts[0] if len(embedded.starts) else embedded.protein.positions
        return embedded.protein.with_positions(start), embedded.protein
    from flashschnet_lab.proteins.mapping import read_protein

    path = Path(which)
    if not path.suffix and not path.exists():
        raise UserError(
            f"{which!r} is neither a protein of the library ({', '.join(embedded_names())}) nor a "
            "structure file"
        )
    protein = read_protein(path, mapping=mapping)
    return protein, replace(protein)
