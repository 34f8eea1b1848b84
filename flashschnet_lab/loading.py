"""From a name, a structure file or a sequence to a system that can be simulated."""

from __future__ import annotations

from pathlib import Path

from flashschnet_lab.checkpoints.native import load_model, read_description
from flashschnet_lab.errors import UserError
from flashschnet_lab.paths import data_folder
from flashschnet_lab.potentials.prior_table import PriorTable, load_prior_table
from flashschnet_lab.potentials.structure_based import DEFAULT_DEPTH, native_contacts
from flashschnet_lab.proteins.embedded import embedded_like, embedded_names, embedded_protein
from flashschnet_lab.proteins.protein import Protein, c_alpha_chain
from flashschnet_lab.proteins.residues import CA_ONLY, FIVE_BEAD
from flashschnet_lab.system import Model, System

DEFAULT_MAPPING = FIVE_BEAD


def load_system(
    which: str | Path | Protein,
    model: str | Path | Model | None = None,
    *,
    mapping: str | None = None,
    rename: dict[str, str] | None = None,
    incomplete: str = "error",
) -> System:
    """Return a protein with the model that moves it.

    Args:
        which: a name of the library ("chignolin", "trpcage", "1enh"), a PDB or mmCIF file, or a
            `Protein`.
        model: a model folder, the name of one on the Hugging Face Hub ("hf:user/repo"), or a
            `Model`. Default: the trained network that comes with the package if there is one for
            this molecule, else the structure-based potential of the structure (the name of the
            model says so).
        mapping: for files: "five_bead" or "ca"; default that of the model, else five beads. (The
            proteins of the library have five; a model of C-alpha beads takes their C-alpha.)
        rename: for files: residues to treat as others, {"LRT": "LYS"}.
        incomplete: for files: what to do with residues that lack an atom, "error" or "drop".

    Raises:
        UserError: an unknown name or file, or a model that does not fit the protein.
    """
    given = _given(model)
    implied = "" if given is None else given.mapping
    protein, reference = _protein(which, mapping, implied, rename, incomplete)
    chosen = given or trained_model(protein) or structure_based_model(reference)
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


def priors_only_model(protein: Protein) -> Model:
    """Return priors alone: a chain with its local geometry and excluded volume, but no fold."""
    return Model(
        name=f"priors only of {protein.name} (no trained network, no structure to learn from)",
        prior=default_prior(protein.mapping),
        only_for=protein.fingerprint(),
    )


def load_sequence(
    sequence: str,
    model: str | Path | Model | None = None,
    *,
    shape: str = "extended",
    mapping: str | None = None,
) -> System:
    """Return a chain built from its sequence with the model that moves it.

    Args:
        sequence: one-letter codes.
        model: as for `load_system`; default the trained network that comes with the package if
            there is one for this sequence, else priors alone.
        shape: "extended" or "helix".
        mapping: "five_bead" or "ca"; default that of the model, else five beads.

    Raises:
        UserError: an unknown letter or shape, or a model that does not fit.
    """
    from flashschnet_lab.proteins.builder import build_chain

    given = _given(model)
    implied = DEFAULT_MAPPING if given is None or not given.mapping else given.mapping
    protein = build_chain(sequence, shape, mapping or implied)
    chosen = given or trained_model(protein) or priors_only_model(protein)
    known = embedded_like(protein.fingerprint())
    native = None if known is None else known.protein.positions
    return System(protein, chosen, native)


def default_prior(mapping: str) -> PriorTable:
    """Return the prior table that comes with the package for a mapping."""
    return load_prior_table(data_folder() / "priors" / f"{mapping}.json")


def _given(model: str | Path | Model | None) -> Model | None:
    return model if model is None or isinstance(model, Model) else load_model(model)


def _protein(
    which: str | Path | Protein,
    mapping: str | None,
    implied: str,
    rename: dict[str, str] | None,
    incomplete: str,
) -> tuple[Protein, Protein]:
    """Return the protein where it starts and where its reference is.

    `mapping` is what was asked for, `implied` that of the model, or "".
    """
    if isinstance(which, Protein):
        return which, which
    mapping = mapping or implied or DEFAULT_MAPPING
    if str(which).lower() in embedded_names():
        embedded = embedded_protein(str(which))
        start = embedded.starts[0] if len(embedded.starts) else embedded.protein.positions
        started = embedded.protein.with_positions(start)
        if mapping == implied == CA_ONLY:
            return c_alpha_chain(started), c_alpha_chain(embedded.protein)
        if mapping != embedded.protein.mapping:
            raise UserError(
                f"{which} of the library has the mapping {embedded.protein.mapping}, not "
                f"{mapping}; for another mapping give a structure file"
            )
        return started, embedded.protein
    from flashschnet_lab.proteins.mapping import read_protein

    path = Path(which)
    if not path.suffix and not path.exists():
        raise UserError(
            f"{str(which)!r} is neither a protein of the library ({', '.join(embedded_names())}) "
            "nor a structure file"
        )
    protein = read_protein(path, mapping=mapping, rename=rename, incomplete=incomplete)
    return protein, protein
