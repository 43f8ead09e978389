"""The registry of fitted models: a folder a version with the boosters and a card that says what they are."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import ModelError
from engine.scoring.base_risk import BaseRiskModel, Calibration
from engine.scoring.features import BASE_FEATURES

if TYPE_CHECKING:  # reading cards needs no xgboost, which takes seconds to import
    from engine.learning.fit import Boosters

MODELS = Path(__file__).parent / "models"
BASE_RISK = "base_risk"
_FILES = ("mean.ubj", "quantiles.ubj")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is, what it was fitted on, and how well it does. `sha256` is the digest of each file."""

    name: str
    version: str
    features: tuple[str, ...]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    calibration: Calibration
    sha256: Mapping[str, str]


def save(
    model: BaseRiskModel, boosters: "Boosters", training: Mapping[str, Any], metrics: Mapping[str, Any], root: Path
) -> Path:
    """Writes a version's folder below `root` and returns it."""
    folder = root / BASE_RISK / model.version
    folder.mkdir(parents=True, exist_ok=True)
    for name, booster in zip(_FILES, (boosters.mean, boosters.quantiles), strict=True):
        booster.save_model(folder / name)
    card = ModelCard(
        BASE_RISK,
        model.version,
        tuple(feature.code for feature in BASE_FEATURES),
        training,
        metrics,
        model.calibration,
        {name: _digest(folder / name) for name in _FILES},
    )
    (folder / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(asdict(card)), indent=1) + b"\n")
    return folder


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cards(root: Path = MODELS) -> tuple[ModelCard, ...]:
    """The cards of all versions, oldest first. Raises ModelError for a card that cannot be read."""
    found = []
    for path in sorted(
        root.glob("*/*/card.json"), key=lambda card: (card.parent.parent.name, _order(card.parent.name))
    ):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=ModelCard))
        except msgspec.MsgspecError as error:
            raise ModelError(
                f"model card {path.parent.parent.name}/{path.parent.name} cannot be read: {error}"
            ) from error
    return tuple(found)


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (-1, version)


def load_base_risk(version: str = "", root: Path = MODELS) -> BaseRiskModel:
    """The base-risk model of a version, the newest where none is given.

    Raises ModelError where the version is not there, a file's digest is not the card's, or the features differ.
    """
    import xgboost

    known = [card for card in cards(root) if card.name == BASE_RISK]
    chosen = [card for card in known if not version or card.version == version]
    if not chosen:
        raise ModelError(f"no base-risk model {version or '(any)'}: there are {[card.version for card in known]}")
    card = chosen[-1]
    if card.features != tuple(feature.code for feature in BASE_FEATURES):
        raise ModelError(f"base-risk model {card.version} was fitted on other features; train it anew")
    boosters = []
    for name in _FILES:
        path = root / BASE_RISK / card.version / name
        digest = _digest(path) if path.is_file() else "absent"
        if digest != card.sha256[name]:
            raise ModelError(
                f"model file {name} of version {card.version} has digest {digest}, its card says {card.sha256[name]}"
            )
        boosters.append(xgboost.Booster(model_file=path))
    return BaseRiskModel(card.version, boosters[0], boosters[1], card.calibration)
