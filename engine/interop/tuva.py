"""The Tuva Project's input layer as CSV: eligibility, medical_claim and pharmacy_claim (synthetic Medicare
claims).

- eligibility: one enrollment.change a span of coverage. The first span and one after a gap enroll, one that
  follows the day after its predecessor updates. A span that nothing follows ends with a terminate on the
  day after its last, except on the last day of the whole file: there coverage is not known to end, the file
  does.
- medical_claim: one claim.submitted a line. pharmacy_claim: one pharmacy.fill a line.

The person is `patient_id` (`member_id` is empty in these files). A claim happens at midnight UTC of its
service date: that of the line, or of the claim where the line has none. Amounts go into cents through
Decimal, signs kept: a negative amount is passed on, and the shard refuses it with a reason. The provider is
`billing_npi`, never another NPI.

Stand-ins, because the files lack them: line of business is medicare_advantage (the file says medicare), the
policy and the cohort are those of the region. Region is the Census Bureau's region of the state. Puerto
Rico and the Virgin Islands lie in no Census region; they are put in the northeast, with which the
Department of Health and Human Services groups them (Region 2, New York). A state that is not known is
passed on as it is, and the shard refuses it.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from heapq import merge
from itertools import pairwise
from pathlib import Path

from engine.domain.events import CLAIM, PHARMACY, SCHEMA_VERSION, SourceEvent
from engine.errors import SourceError
from engine.interop.shape import enrollment
from engine.interop.table import cents, instant_ms, number, rows, whole

ELIGIBILITY = "eligibility.csv"
MEDICAL = "medical_claim.csv"
PHARMACY_CLAIM = "pharmacy_claim.csv"
FILES: tuple[str, ...] = (ELIGIBILITY, MEDICAL, PHARMACY_CLAIM)

_STATES: dict[str, str] = {
    "northeast": "Connecticut|Maine|Massachusetts|New Hampshire|Rhode Island|Vermont|New Jersey|New York"
    "|Pennsylvania|Puerto Rico|Virgin Islands",
    "midwest": "Illinois|Indiana|Michigan|Ohio|Wisconsin|Iowa|Kansas|Minnesota|Missouri|Nebraska|North Dakota"
    "|South Dakota",
    "south": "Delaware|District of Columbia|Florida|Georgia|Maryland|North Carolina|South Carolina|Virginia"
    "|West Virginia|Alabama|Kentucky|Mississippi|Tennessee|Arkansas|Louisiana|Oklahoma|Texas",
    "west": "Arizona|Colorado|Idaho|Montana|Nevada|New Mexico|Utah|Wyoming|Alaska|California|Hawaii|Oregon|Washington",
}
_REGION_OF: dict[str, str] = {state: region for region, states in _STATES.items() for state in states.split("|")}
_DIAGNOSES = tuple(f"diagnosis_code_{i}" for i in range(1, 26))
_DAY = timedelta(days=1)
_LINE_OF_BUSINESS = "medicare_advantage"
Span = tuple[date, date, str, str, str]
"""First day, last day, birth date, sex, region."""


def read(path: Path) -> Iterator[SourceEvent]:
    """Events of the files in the folder `path`: everyone's first enrollment, then all the rest by time.

    The files are in no order of time, so that their events are held and sorted.
    """
    first, later = _enrollments(path / ELIGIBILITY)
    yield from first
    claims = sorted(_claims(path / MEDICAL), key=_time)
    fills = sorted(_fills(path / PHARMACY_CLAIM), key=_time)
    yield from merge(later, claims, fills, key=_time)


def region_of(state: str) -> str:
    """Census region of a state's English name; a note in brackets is dropped. Unknown: the name as it is."""
    return _REGION_OF.get(state.split(" (")[0], state)


def _time(event: SourceEvent) -> int:
    time = event.fields["time"]
    assert isinstance(time, int)
    return time


def _date(text: str, file: Path, line: int) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise SourceError(f"{file.name} line {line}: {text!r} is not a date of the form YYYY-MM-DD") from error


def _enrollments(file: Path) -> tuple[list[SourceEvent], list[SourceEvent]]:
    columns = ("patient_id", "enrollment_start_date", "enrollment_end_date", "birth_date", "gender", "state")
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for line, (person, start, end, birth, sex, state) in rows(file, columns):
        span = (_date(start, file, line), _date(end, file, line), birth, sex, region_of(state))
        if span[1] < span[0]:
            raise SourceError(f"{file.name} line {line}: enrollment_end_date {end} is before its start {start}")
        spans[person].append(span)
    horizon = max((span[1] for of_person in spans.values() for span in of_person), default=date.max)
    first: list[SourceEvent] = []
    later: list[SourceEvent] = []
    for person, of_person in spans.items():
        changes = list(_changes(person, sorted(of_person), horizon))
        first.append(changes[0])
        later.extend(changes[1:])
    return sorted(first, key=_time), sorted(later, key=_time)


def _changes(person: str, spans: list[Span], horizon: date) -> Iterator[SourceEvent]:
    yield _change(person, "enroll", spans[0][0], spans[0])
    for before, after in pairwise(spans):
        follows = after[0] <= before[1] + _DAY
        if not follows:
            yield _change(person, "terminate", before[1] + _DAY, before)
        yield _change(person, "update" if follows else "enroll", after[0], after)
    if spans[-1][1] < horizon:
        yield _change(person, "terminate", spans[-1][1] + _DAY, spans[-1])


def _change(person: str, action: str, effective: date, span: Span) -> SourceEvent:
    _, _, birth, sex, region = span
    return enrollment(
        "tuva",
        f"{action}-{person}-{effective.isoformat()}",
        f"tuva-{person}",
        action=action,
        effective_date=effective,
        birth_date=birth,
        sex=sex,
        region=region,
        line_of_business=_LINE_OF_BUSINESS,
        policy_id=f"tuva-{_LINE_OF_BUSINESS}-{region}",
        cohort_id=f"{_LINE_OF_BUSINESS}-{region}",
    )


def _claims(file: Path) -> Iterator[SourceEvent]:
    columns = (
        *(
            "claim_id",
            "claim_line_number",
            "claim_type",
            "patient_id",
            "claim_line_start_date",
            "claim_start_date",
        ),
        *("hcpcs_code", "place_of_service_code", "bill_type_code", "revenue_center_code", "billing_npi"),
        *("charge_amount", "allowed_amount", "paid_amount", "diagnosis_code_type", *_DIAGNOSES),
    )
    for at, row in rows(file, columns):
        claim, line, form, person, line_day, claim_day, procedure, place, bill, centre, npi = row[:11]
        charge, allowed, paid, code_type = row[11:15]
        diagnoses = [code for code in row[15:] if code]
        if diagnoses and code_type != "icd-10-cm":
            raise SourceError(f"{file.name} line {at}: diagnosis_code_type {code_type!r}; icd-10-cm is expected")
        day = line_day or claim_day
        yield SourceEvent(
            CLAIM,
            {
                "v": SCHEMA_VERSION,
                "event_id": f"medical-{claim}-{line}",
                "source": "tuva",
                "member_id": f"tuva-{person}",
                "time": instant_ms(day, "%Y-%m-%d", file, at),
                "claim_id": claim,
                "line": whole(line),
                "claim_type": form,
                "service_date": day,
                "diagnoses": diagnoses,
                "procedure": procedure or None,
                "place_of_service": place or None,
                "bill_type": bill or None,
                "revenue_center": centre or None,
                "provider_id": npi or None,
                "charge_cents": cents(charge),
                "allowed_cents": cents(allowed),
                "paid_cents": cents(paid),
            },
        )


def _fills(file: Path) -> Iterator[SourceEvent]:
    columns = (
        *(
            "claim_id",
            "claim_line_number",
            "patient_id",
            "dispensing_date",
            "ndc_code",
            "quantity",
            "days_supply",
        ),
        *("allowed_amount", "paid_amount"),
    )
    for at, (claim, line, person, day, ndc, quantity, supply, allowed, paid) in rows(file, columns):
        yield SourceEvent(
            PHARMACY,
            {
                "v": SCHEMA_VERSION,
                "event_id": f"pharmacy-{claim}-{line}",
                "source": "tuva",
                "member_id": f"tuva-{person}",
                "time": instant_ms(day, "%Y-%m-%d", file, at),
                "claim_id": claim,
                "line": whole(line),
                "ndc": ndc,
                "fill_date": day,
                "quantity": number(quantity),
                "days_supply": whole(supply) if supply else None,
                "allowed_cents": cents(allowed),
                "paid_cents": cents(paid),
            },
        )
