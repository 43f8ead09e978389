"""Stand-in members for sources that say little or nothing of who their people are.

A shard refuses a reading of a member it does not know, and nothing may be defaulted in silence. So a person
without demographics is given those of a member of the seeded synthetic population who fits what the source
does say, and the enrollment event says so: its source is "synthetic", not the name of the file's.
"""

from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np

from engine.domain.events import LINES_OF_BUSINESS, REGIONS, SourceEvent
from engine.domain.population import SEXES, Population
from engine.errors import SourceError
from engine.interop.shape import enrollment

_CANDIDATES = 1024
"""Draws among which a fit is sought; adult men under 30 are 8 % of them, so that none fits with p < 1e-36."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a source says of a person: sex or None, and ages from `youngest` to under `below`."""

    sex: str | None = None
    youngest: int = 18
    below: int = 65


@dataclass(frozen=True, slots=True)
class SyntheticDemographics:
    """The policy for people without demographics: a synthetic member, drawn by seed and member id."""

    seed: int = 0

    def enroll(self, member_id: str, known: Known, effective_date: date) -> SourceEvent:
        """Enrollment of `member_id` as the first synthetic member who fits `known` on `effective_date`.

        The draw depends on the seed, the member and the day alone, never on who else is in the file.
        """
        digest = blake2b(f"{self.seed}:{member_id}".encode(), digest_size=8).digest()
        people = Population.generate(int.from_bytes(digest, "little"), _CANDIDATES, effective_date)
        ages = people.age(effective_date)
        fits = (ages >= known.youngest) & (ages < known.below)
        if known.sex is not None:
            if known.sex not in SEXES:
                raise SourceError(f"sex {known.sex!r} of {member_id} is none of {', '.join(SEXES)}")
            fits &= people.sex == SEXES.index(known.sex)
        if not fits.any():
            raise SourceError(f"no synthetic member fits {known} for {member_id}; widen the ages")
        i = int(np.argmax(fits))
        return enrollment(
            "synthetic",
            f"enroll-{member_id}",
            member_id,
            action="enroll",
            effective_date=effective_date,
            birth_date=str(people.birth_date[i]),
            sex=SEXES[people.sex[i]],
            region=REGIONS[people.region[i]],
            line_of_business=LINES_OF_BUSINESS[people.line_of_business[i]],
            policy_id=str(people.policy_id[i]),
            cohort_id=str(people.cohort_id[i]),
        )
