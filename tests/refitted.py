"""A registry with a second generation of models, as a refit would write it."""

import json
import shutil
from pathlib import Path

from engine.domain.model_set import ModelSet
from engine.learning import registry


def refitted(root: Path) -> tuple[ModelSet, ModelSet]:
    """Copies the package's models to `root` and adds a base risk a tenth dearer with its ensemble: both model sets."""
    shutil.copytree(registry.MODELS, root)
    first = registry.newest(root)
    second = first.changed("base_risk", "1000").changed("ensemble", "1000")
    for name in ("base_risk", "ensemble"):
        shutil.copytree(root / name / first.version(name), root / name / "1000")
        path = root / name / "1000" / "card.json"
        card = json.loads(path.read_text())
        card["version"] = "1000"
        if name == "base_risk":
            card["calibration"]["scale"] *= 1.1
        else:
            card["training"]["base_risk"] = "1000"
        path.write_text(json.dumps(card))
    return first, second
