"""Settings: one small typed class an area. The environment overrides configs/settings.toml.

Only the composition root reads them; everything else is handed plain values.
"""

import tomllib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from engine.domain.scaling import Scaling, ShardCapacity, SimulationCapacity
from engine.errors import SettingsError

if TYPE_CHECKING:
    from engine.scoring.health_score import ScoringRules

_Capacity = TypeVar("_Capacity")


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
    standby: int = Field(ge=0, le=8, description="shards more, which stand by for those that end")
    lease_seconds: float = Field(gt=1, description="how long a silent owner keeps its partitions")
    dead_seconds: float = Field(gt=1, description="how long a shard may be silent before others get its partitions")
    snapshot_every: int = Field(ge=1, description="most commits of a partition between two snapshots")
    poll_records: int = Field(ge=1, description="most records of one micro-batch")
    poll_ms: int = Field(ge=1, description="longest wait for records")
    batch_seconds: float = Field(gt=0, description="time from read to committed that a micro-batch is sized for")
    catch_up_seconds: float = Field(gt=0, description="the same while more than a batch waits in the log")
    store_readings: bool = Field(description="whether each reading has a row of its own, beside state and scores")
    pending_seconds: float = Field(ge=0, description="how long an event waits for its member's enrolment")
    board_mb: int = Field(ge=0, description="MB of shared memory in which a shard shows current scores; 0: none")
    retry_seconds: float = Field(gt=0, description="how long PostgreSQL or the broker may be away")


class ModelSettings(BaseModel):
    """Where the fitted models are."""

    folder: str = Field(description="registry of models, a folder a model and version; empty: the package's own")


class HttpSettings(BaseModel):
    """Where Serve listens."""

    host: str = Field(description="address to bind to; anything but loopback needs auth.jwks")
    port: int = Field(ge=0, le=65535, description="port; 0 takes a free one")
    cors_origins: str = Field(description="origins of browsers' pages that may ask, separated by blanks; empty: none")
    tls_certificate: str = Field(description="PEM file of the certificate chain; empty: no TLS. TLS 1.3 only")
    tls_key: str = Field(description="PEM file of the certificate's key")


class AuthSettings(BaseModel):
    """Who issues the tokens that applications bring."""

    jwks: str = Field(description="https address or file of the issuer's JWK set; empty: no authentication")
    issuer: str = Field(description="iss that tokens must have")
    audience: str = Field(description="aud that tokens must have")
    leeway_seconds: float = Field(ge=0, le=300, description="by how much clocks may differ")
    keys_seconds: float = Field(ge=1, description="time between two readings of the JWK set")
    denylist_seconds: float = Field(gt=0, description="within what time a revoked token is refused")


class LimitSettings(BaseModel):
    """How often and how much a caller may ask."""

    requests_per_minute: int = Field(ge=1, description="requests of a user in any minute")
    redis_url: SecretStr = Field(description="redis://host:port that counts for all replicas; empty: each for itself")
    body_bytes: int = Field(ge=1024, description="largest request")
    bulk_body_bytes: int = Field(ge=1024, description="largest request of bulk scores and simulations")


class AuditSettings(BaseModel):
    """The record of who looked at which member."""

    queue: int = Field(ge=1, description="events that may wait for PostgreSQL before requests wait")
    wait_seconds: float = Field(gt=0, description="how long a request waits before it is refused")
    folder: str = Field(description="where events are until PostgreSQL has them; empty: in the state directory")


class SeriesSettings(BaseModel):
    """How long the time series are kept, in months; 0: for ever. `vitanexus series keep` sees to it."""

    readings_months: int = Field(ge=0, description="months that each reading is kept")
    daily_months: int = Field(ge=0, description="months that readings summed up by day are kept")
    scores_months: int = Field(ge=0, description="months that the score history is kept")
    audit_months: int = Field(ge=0, description="months that audit events are kept")
    columnstore_days: int = Field(ge=0, description="age from which TimescaleDB compresses rows; 0: none")
    hold: bool = Field(description="true: nothing is dropped, as a legal hold demands")


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
    auth: AuthSettings
    limits: LimitSettings
    audit: AuditSettings
    series: SeriesSettings
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


def load_rules() -> "ScoringRules":
    """The scoring rules and the catalogue of interventions of configs/. Raises SettingsError naming the line."""
    # they bring the kernels of scoring, a second that those who only connect do without
    from engine.scoring.health_score import CATEGORIES, ScoringRules
    from engine.scoring.interventions import Intervention

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
            rules["emission"]["score"],
            rules["emission"]["cost"],
            entries,
        )
    except (KeyError, ValueError) as error:
        raise SettingsError(f"configs/scoring.toml or configs/interventions.toml: {error}") from error


def load_shard_scaling() -> tuple[Scaling, ShardCapacity]:
    """When the number of shards changes. Raises SettingsError naming what of configs/autoscaling.toml cannot be."""
    return _scaling("shards", ShardCapacity)


def load_simulation_scaling() -> tuple[Scaling, SimulationCapacity]:
    """When the number of simulation workers changes. Raises SettingsError as `load_shard_scaling` does."""
    return _scaling("simulations", SimulationCapacity)


def _scaling(area: str, capacity: Callable[..., _Capacity]) -> tuple[Scaling, _Capacity]:
    table = dict(_toml("autoscaling.toml").get(area, {}))
    try:
        return Scaling(**{k: v for k, v in table.items() if k != "capacity"}), capacity(**table["capacity"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"configs/autoscaling.toml [{area}]: {error}") from error
