"""The registry of fitted models: a folder a version with the boosters and a card that says what they are."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from engine.domain.model_set import MODEL_NAMES, ModelSet
from engine.errors import ModelError
from engine.learning.drift import Reference
from engine.scoring import base_risk, ensemble, physiology, steps_forecast
from engine.scoring.features import BASE_FEATURES
from engine.scoring.health_score import HealthScorer, Models, ScoringRules
from engine.scoring.trees import Trees, trees_of

if TYPE_CHECKING:  # reading cards needs no xgboost, which takes seconds to import
    import xgboost

MODELS = Path(__file__).parent / "models"
BASE_RISK, PHYSIOLOGY, BEHAVIOR, ENSEMBLE = "base_risk", "physiology", "behavior", "ensemble"
FEATURES: Mapping[str, tuple[str, ...]] = {
    BASE_RISK: tuple(feature.code for feature in BASE_FEATURES),
    PHYSIOLOGY: tuple(measure.code for measure in physiology.MEASURES),
    BEHAVIOR: steps_forecast.SERIES,
    ENSEMBLE: (BASE_RISK, "clinical", PHYSIOLOGY, "wearables"),
}
"""The columns each model takes."""
C = TypeVar("C")


def folder(setting: str) -> Path:
    """The registry a setting names; the package's own for "". Raises ModelError where it is not a folder."""
    found = Path(setting).resolve() if setting else MODELS
    if not found.is_dir():
        raise ModelError(f"VITANEXUS_MODELS_FOLDER is {setting!r}: not a folder")
    return found


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is, what it was fitted on, and how well it does. `sha256` is the digest of each file."""

    name: str
    version: str
    features: tuple[str, ...]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    calibration: Mapping[str, Any]
    sha256: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all files, in order of their names, and over what was calibrated."""
        fitted = msgspec.json.encode([self.sha256, self.calibration], order="sorted")
        return hashlib.sha256(fitted).hexdigest()


def save(
    name: str,
    version: str,
    boosters: Mapping[str, "xgboost.Booster"],
    calibration: base_risk.Calibration | physiology.Calibration | steps_forecast.Weights | ensemble.Weights,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    sources: Sequence[Path],
    root: Path,
) -> Path:
    """Writes a version's folder below `root` and returns it. `boosters` by file name without its ending.

    The card keeps the digest of each file of `sources`, which the model was fitted on, and of the code that fitted it.
    """
    folder = root / name / version
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{stem}.json" for stem in boosters]
    for file, booster in zip(files, boosters.values(), strict=True):
        booster.save_model(folder / file)
    digests = {file: _digest(folder / file) for file in files}
    training = {
        **training,
        "data_sha256": {path.name: _digest(path) for path in sorted(sources)},
        "code": f"{metadata.version('vitanexus')}+{_code_digest()[:12]}",
    }
    made = ModelCard(name, version, FEATURES[name], training, metrics, asdict(calibration), digests)
    (folder / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(asdict(made)), indent=1) + b"\n")
    return folder


def _code_digest() -> str:
    """SHA-256 of the modules that fit and evaluate, as they stand."""
    folders = (Path(__file__).parent, Path(base_risk.__file__).parent)
    modules = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()


def told(card: ModelCard) -> dict[str, Any]:
    """What the database keeps of a card."""
    return {"features": list(card.features), "training": dict(card.training), "metrics": dict(card.metrics)}


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


def load_base_risk(version: str = "", root: Path = MODELS) -> base_risk.BaseRiskModel:
    """The base-risk model of a version, the newest where none is given.

    Raises ModelError where it is not there, was fitted on other features, or a file is not the one of its card.
    """
    found = card(BASE_RISK, version, root)
    mean, quantiles = _trees(found, ("mean", "quantiles"), root)
    return base_risk.BaseRiskModel(found.version, mean, quantiles, _typed(found, base_risk.Calibration))


def load_physiology(version: str = "", root: Path = MODELS) -> physiology.PhysiologyModel:
    """The physiology model of a version, the newest where none is given.

    Raises ModelError where it is not there, was fitted on other features, or a file is not the one of its card.
    """
    found = card(PHYSIOLOGY, version, root)
    trees = _trees(found, ("trees",), root)[0]
    return physiology.PhysiologyModel(found.version, trees, _typed(found, physiology.Calibration))


def load_behavior(version: str = "", root: Path = MODELS) -> steps_forecast.StepsForecaster:
    """The steps forecast of a version, the newest where none is given.

    Raises ModelError where it is not there, was fitted on other features, or a file is not the one of its card.
    """
    found = card(BEHAVIOR, version, root)
    return steps_forecast.StepsForecaster(found.version, _typed(found, steps_forecast.Weights))


def load_ensemble(version: str = "", root: Path = MODELS) -> ensemble.Ensemble:
    """The ensemble's weights of a version, the newest where none is given.

    Raises ModelError where it is not there or was fitted for other components.
    """
    found = card(ENSEMBLE, version, root)
    return ensemble.Ensemble(found.version, _typed(found, ensemble.Weights))


def newest(root: Path = MODELS) -> ModelSet:
    """The newest version of each model."""
    return ModelSet(*(card(name, "", root).version for name in MODEL_NAMES))


def load_models(chosen: ModelSet | None = None, root: Path = MODELS) -> Models:
    """All models that score members: those chosen, the newest where none are.

    Raises ModelError as the loaders of each do, and where the ensemble was fitted beside another base risk.
    """
    chosen = chosen or newest(root)
    base, beside = load_base_risk(chosen.base_risk, root), card(ENSEMBLE, chosen.ensemble, root).training["base_risk"]
    if beside != base.version:
        raise ModelError(
            f"ensemble {chosen.ensemble} was fitted beside base risk {beside}, not {chosen.base_risk}: "
            "the two change together"
        )
    return Models(
        base,
        load_physiology(chosen.physiology, root),
        load_behavior(chosen.behavior, root),
        load_ensemble(chosen.ensemble, root),
    )


def drift_reference(found: ModelCard) -> dict[str, Reference]:
    """What today's members are held against: distributions of features and prediction at the fit.

    Raises ModelError for a card that keeps none.
    """
    try:
        return msgspec.convert(found.training.get("reference"), dict[str, Reference])
    except msgspec.ValidationError as error:
        raise ModelError(f"model card {found.name}/{found.version} keeps no reference for drift: {error}") from error


class Scorers:
    """The scorers of model sets, each loaded once. `initial` stands for "": no change of champion has been met yet."""

    def __init__(self, rules: ScoringRules, initial: ModelSet | None = None, root: Path = MODELS) -> None:
        self._rules, self._root = rules, root
        self._loaded = {"": HealthScorer(load_models(initial, root), rules)}

    def __call__(self, models: str) -> HealthScorer:
        """The scorer of a model set as text. Raises ModelError where a model is not there."""
        if models not in self._loaded:
            self._loaded[models] = HealthScorer(load_models(ModelSet.parse(models), self._root), self._rules)
        return self._loaded[models]


def _typed(card: ModelCard, kind: type[C]) -> C:
    try:
        return msgspec.convert(card.calibration, kind)
    except msgspec.ValidationError as error:
        raise ModelError(f"model card {card.name}/{card.version} has no calibration that fits: {error}") from error


def card(name: str, version: str = "", root: Path = MODELS) -> ModelCard:
    """The card of a version, of the newest where none is given.

    Raises ModelError where it is not there or was fitted on other features.
    """
    known = [each for each in cards(root) if each.name == name]
    chosen = [each for each in known if not version or each.version == version]
    if not chosen:
        raise ModelError(f"no {name} model {version or '(any)'}: there are {[each.version for each in known]}")
    if chosen[-1].features != FEATURES[name]:
        raise ModelError(f"{name} model {chosen[-1].version} was fitted on other features; train it anew")
    return chosen[-1]


def _trees(card: ModelCard, stems: Sequence[str], root: Path) -> list[Trees]:
    """Raises ModelError where a file's digest is not the card's."""
    found = []
    for stem in stems:
        path = root / card.name / card.version / f"{stem}.json"
        digest = _digest(path) if path.is_file() else "absent"
        if digest != card.sha256.get(path.name):
            raise ModelError(
                f"model file {path.name} of version {card.version} has digest {digest}, its card says "
                f"{card.sha256.get(path.name)}"
            )
        found.append(trees_of(path.read_bytes()))
    return found
