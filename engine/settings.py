"""Settings: one small typed class an area. The environment overrides configs/settings.toml.

Only the composition root reads them; everything else is handed plain values.
"""

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from engine.errors import SettingsError
from engine.scoring.health_score import CATEGORIES, ScoringRules
from engine.scoring.interventions import Intervention


class PostgresSettings(BaseModel):
    """Where PostgreSQL is."""

    url: SecretStr = Field(description="postgresql://user:password@host:port/database; empty starts an embedded server")


class KafkaSettings(BaseModel):
    """Where the broker is."""

    bootstrap: str = Field(description="host:port[,host:port]; empty starts an embedded broker")


class RaySettings(BaseModel):
    """Where Ray is, or how much of this machine it may use."""

    address: str = Field(description="host:port or ray://host:port of a cluster; empty starts Ray on this machine")
    num_cpus: int = Field(ge=1, description="logical CPUs of a local Ray")
    object_store_mb: int = Field(ge=80, description="size of a local Ray's object store in MB")
    jobs_url: str = Field(description="http address of Ray's dashboard, which takes jobs; empty: the local stack's own")


class ShardSettings(BaseModel):
    """Member shards: how many, and how they batch, lease and recover."""

    count: int = Field(ge=1, le=64, description="number of shard actors")
    lease_seconds: float = Field(gt=1, description="how long a silent owner keeps its partitions")
    snapshot_every: int = Field(ge=1, description="commits of a partition between two snapshots")
    poll_records: int = Field(ge=1, description="most records of one micro-batch")
    poll_ms: int = Field(ge=1, description="longest wait for records")
    batch_seconds: float = Field(gt=0, description="time from read to committed that a micro-batch is sized for")
    store_readings: bool = Field(description="whether each reading has a row of its own, beside state and scores")
    retry_seconds: float = Field(gt=0, description="how long PostgreSQL or the broker may be away")


class ModelSettings(BaseModel):
    """Where the fitted models are."""

    folder: str = Field(description="registry of models, a folder a model and version; empty: the package's own")


class HttpSettings(BaseModel):
    """Where Serve listens."""

    host: str = Field(description="address to bind to")
    port: int = Field(ge=0, le=65535, description="port; 0 takes a free one")


class LogSettings(BaseModel):
    """How much is logged."""

    level: str = Field(description="DEBUG, INFO, WARNING or ERROR")


class Settings(BaseSettings):
    """All areas. `VITANEXUS_POSTGRES_URL` is the `url` of the area `postgres`, and so on."""

    model_config = SettingsConfigDict(env_prefix="VITANEXUS_", env_nested_delimiter="_", env_nested_max_split=1)

    postgres: PostgresSettings
    kafka: KafkaSettings
    ray: RaySettings
    shards: ShardSettings
    models: ModelSettings
    http: HttpSettings
    log: LogSettings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given in code, then the environment, then configs/settings.toml."""
        return init_settings, env_settings, _TomlSource(settings_cls)


class _TomlSource(PydanticBaseSettingsSource):
    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return _toml("settings.toml").get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(_toml("settings.toml"))


def _toml(name: str) -> Mapping[str, Any]:
    return tomllib.loads(resources.files("configs").joinpath(name).read_text())


def load_settings() -> Settings:
    """The settings in force. Raises SettingsError naming the variable and its value."""
    try:
        return Settings.model_validate({})
    except ValidationError as error:
        first = error.errors()[0]
        name = "VITANEXUS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsError(f"{name} is {first['input']!r}: {first['msg']}") from error


def load_rules() -> ScoringRules:
    """The scoring rules and the catalogue of interventions of configs/. Raises SettingsError naming the line."""
    rules, catalogue = _toml("scoring.toml"), _toml("interventions.toml")
    try:
        entries = tuple(
            Intervention(
                entry["code"],
                entry["title"],
                tuple(entry["factors"]),
                CATEGORIES.index(entry["minimum_category"]),
                entry["evidence"],
            )
            for entry in catalogue["intervention"]
        )
        floors = rules["floors"]
        return ScoringRules(
            str(rules["version"]),
            (floors["moderate"], floors["high"], floors["critical"]),
            rules["news2"]["high"],
            rules["news2"]["critical"],
            rules["evidence"]["minimum_days"],
            entries,
        )
    except (KeyError, ValueError) as error:
        raise SettingsError(f"configs/scoring.toml or configs/interventions.toml: {error}") from error
