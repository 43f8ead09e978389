"""A model's card as a page for people: the text beside the model, filled with the figures of its evaluation."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.learning.registry import ModelCard


class _Numbers(list[Any]):
    """A list of numbers in a text: all of them, or its `low`, `high` and `mean`."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)

    def __getitem__(self, key: Any) -> Any:
        if key == "mean":
            return sum(self) / len(self)
        return min(self) if key == "low" else max(self) if key == "high" else super().__getitem__(key)


class _Named(dict[str, Any]):
    """A mapping in a text: its values by name, and the `low` and `high` of them."""

    def __missing__(self, key: str) -> Any:
        return _Numbers(self.values())[key]


def _readable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Named({name: _readable(each) for name, each in value.items()})
    if isinstance(value, list | tuple):
        return _Numbers(_readable(each) for each in value)
    return value


def page(card: ModelCard, root: Path) -> str:
    """The page in Markdown. Raises ModelError where the text names a figure that the card does not have."""
    path = root / card.name / "about.md"
    try:
        text = path.read_text().format_map(_readable(asdict(card)))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{path}: the card of version {card.version} does not have what it names: {error}") from error
    sources = card.training["data_sha256"].items()
    lines = ["", "| file fitted on | SHA-256 |", "|---|---|", *(f"| {name} | `{digest}` |" for name, digest in sources)]
    made = f"Digest of the model `{card.digest}`, fitted by code `{card.training['code']}`."
    return text + "\n".join([*lines, "", made, ""])
