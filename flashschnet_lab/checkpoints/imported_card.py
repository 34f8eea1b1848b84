"""The first half of the model card of an imported model: where it comes from, what came over."""

from __future__ import annotations


def imported_card(description: dict) -> list[str]:
    """Return the lines of a card that `model.json` of an imported model gives.

    Args:
        description: contents of `model.json`.
    """
    lines = [
        f"# {description['name']}",
        "",
        "Imported from another package; its makers' licence and terms hold for the weights.",
        "",
        "## Where it comes from",
        *(
            f"- `{name}`, SHA-256 `{file['sha256']}`"
            for name, file in description["imported_from"].items()
        ),
        f"- Imported with {description['made_with']}. Units: angstrom, kcal/mol.",
        "",
        "## What came over",
        *(f"- {line}" for line in description["came_over"]),
    ]
    if description["left_out"]:
        lines += ["", "## What did not", *(f"- {line}" for line in description["left_out"])]
    return [*lines, ""]
