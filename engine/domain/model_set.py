"""Which versions of the models make a score together."""

import re
from dataclasses import astuple, dataclass, fields, replace

from engine.errors import ModelError

_PART = re.compile(r"(?P<name>[a-z_]+)-(?P<version>[0-9A-Za-z_.]{1,40})")


@dataclass(frozen=True, slots=True)
class ModelSet:
    """Versions by model. As text `base_risk-3+physiology-1+behavior-1+ensemble-1`."""

    base_risk: str
    physiology: str
    behavior: str
    ensemble: str

    def __str__(self) -> str:
        return "+".join(f"{name}-{version}" for name, version in zip(MODEL_NAMES, astuple(self), strict=True))

    @classmethod
    def parse(cls, text: str) -> "ModelSet":
        """The set a text names. Raises ModelError where it does not name each model once."""
        found = [_PART.fullmatch(part) for part in text.split("+")]
        versions = {part["name"]: part["version"] for part in found if part}
        if len(versions) != len(found) or set(versions) != set(MODEL_NAMES):
            raise ModelError(f"models {text!r}: {'+'.join(f'{name}-VERSION' for name in MODEL_NAMES)} is expected")
        return cls(**versions)

    def version(self, name: str) -> str:
        """The version of the model of that name."""
        return str(getattr(self, name))

    def changed(self, name: str, version: str) -> "ModelSet":
        """The set with another version of one model. Raises ModelError for a model there is not."""
        if name not in MODEL_NAMES:
            raise ModelError(f"model {name!r} is not one of {', '.join(MODEL_NAMES)}")
        return replace(self, **{name: version})


MODEL_NAMES: tuple[str, ...] = tuple(field.name for field in fields(ModelSet))
