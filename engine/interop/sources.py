"""The sources that can be replayed: each turns the files in a folder into events."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.domain.events import SourceEvent
from engine.errors import SourceError
from engine.interop import fitabase, lifesnaps, tuva
from engine.interop.demographics import SyntheticDemographics

Reader = Callable[[Path, SyntheticDemographics], Iterator[SourceEvent]]


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of files: its name, what it is, the files its folder must hold, and the reader."""

    name: str
    doc: str
    files: tuple[str, ...]
    read: Reader


SOURCES: Mapping[str, Source] = {
    source.name: source
    for source in (
        Source("fitabase", "Fitbit exports by Fitabase, 2016", fitabase.FILES, fitabase.read),
        Source("lifesnaps", "LifeSnaps, daily Fitbit values, 2021", lifesnaps.FILES, lifesnaps.read),
        Source("tuva", "Tuva claims: eligibility, medical, pharmacy", tuva.FILES, lambda path, _: tuva.read(path)),
    )
}


def read(source: str, path: Path, demographics: SyntheticDemographics | None = None) -> Iterator[SourceEvent]:
    """Events of the files in the folder `path`, members' first enrollments before anything else of theirs.

    `demographics` stands in for what wearable sources do not say of their people (seed 0 unless given). An
    unknown source, a folder or file that is missing raise SourceError at once; a column that is missing, or
    a row that cannot be placed in time, when the reader comes to it.
    """
    if source not in SOURCES:
        raise SourceError(f"source {source!r} is none of {', '.join(SOURCES)}")
    kind = SOURCES[source]
    absent = [file for file in kind.files if not (path / file).is_file()]
    if absent:
        raise SourceError(
            f"{path} has no {', '.join(absent)}; source {source} needs {', '.join(kind.files)} in one folder"
        )
    return kind.read(path, demographics or SyntheticDemographics())
