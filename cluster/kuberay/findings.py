"""What a check of manifests finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault: the object, the path within it, and what is wrong there."""

    where: str
    path: str
    fault: str

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.fault}"


def name_of(document: Mapping[str, Any]) -> str:
    """Kind and name, as people call the object."""
    return f"{document.get('kind')}/{document['metadata'].get('name')}"
