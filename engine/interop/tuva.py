"""The Tuva Project's input layer as CSV: eligibility, medical_claim and pharmacy_claim (synthetic Medicare
claims).

- eligibility: the spans of coverage of each person become enrollment.change events, by engine.interop.coverage.
- medical_claim: one claim.submitted a line, with amounts of the claim counted once (engine.interop.amounts).
  pharmacy_claim: one pharmacy.fill a line.

The person is `person_id`, or `patient_id` in releases of the input layer before 0.13. A claim's number is its
data_source's own: the events' source is `tuva-` and that. A claim happens at midnight UTC of its
service date: that of the line, or of the claim where the line has none. Amounts go into cents through
Decimal, signs kept: Medicare pays less than nothing where a deductible is more than the payment. The files hold
claims as they were paid in the end, so that every line is `paid`. The provider is `billing_npi`, never another NPI.

Stand-ins, because the files lack them: line of business is medicare_advantage (the file says medicare), the
policy and the cohort are those of the region. Region is the Census Bureau's region of the state. Puerto
Rico and the Virgin Islands lie in no Census region; they are put in the northeast, with which the
Department of Health and Human Services groups them (Region 2, New York). A state that is not known is
passed on as it is, and the shard refuses it.
"""

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge
from pathlib import Path

from engine.domain.events import CLAIM, PHARMACY, SCHEMA_VERSION, SourceEvent
from engine.errors import SourceError
from engine.interop.amounts import LEVELS_FILE, carried_once, declared
from engine.interop.coverage import OPEN, Change, Span, changes
from engine.interop.shape import day_ms, enrollment
from engine.interop.table import cents, day, number, rows, whole

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
_POSTAL: dict[str, str] = {
    "northeast": "CT ME MA NH RI VT NJ NY PA PR VI",
    "midwest": "IL IN MI OH WI IA KS MN MO NE ND SD",
    "south": "DE DC FL GA MD NC SC VA WV AL KY MS TN AR LA OK TX",
    "west": "AZ CO ID MT NV NM UT WY AK CA HI OR WA",
}
_REGION_OF: dict[str, str] = {
    state.casefold(): region for region in _STATES for state in (*_STATES[region].split("|"), *_POSTAL[region].split())
}
_POSTAL_CODE_OF: dict[str, str] = {
    name.casefold(): code
    for region in _STATES
    for state, code in zip(_STATES[region].split("|"), _POSTAL[region].split(), strict=True)
    for name in (state, code)
}
_SEXES = {"f": "female", "m": "male"}
_PERSON = "person_id|patient_id"
_MODIFIERS = tuple(f"hcpcs_modifier_{i}|" for i in range(1, 6))
_DIAGNOSES = tuple(f"diagnosis_code_{i}" for i in range(1, 26))
_LINE_OF_BUSINESS = "medicare_advantage"
_OPEN_FROM = 2200
"""Files write an end that is not known as blank, 2999-12-31 or 9999-12-31."""


def read(path: Path) -> Iterator[SourceEvent]:
    """Events of the files in the folder `path`: everyone's first enrollment, then all the rest by time.

    The files are in no order of time, so that their events are held and sorted.
    """
    first, later = _enrollments(path / ELIGIBILITY)
    yield from first
    claims = sorted(_claims(path), key=_time)
    fills = sorted(_fills(path / PHARMACY_CLAIM), key=_time)
    yield from merge(later, claims, fills, key=_time)


def region_of(state: str) -> str:
    """Census region of a state's English name or postal code; a note in brackets is dropped. Unknown: as it is."""
    return _REGION_OF.get(state.split(" (")[0].strip().casefold(), state)


def state_of(state: str) -> str | None:
    """Postal code of a state's English name or postal code; None where it is neither."""
    return _POSTAL_CODE_OF.get(state.split(" (")[0].strip().casefold())


def _sex_of(gender: str) -> str:
    word = gender.strip().lower()
    return _SEXES.get(word, word)


def _time(event: SourceEvent) -> int:
    time = event.fields["time"]
    assert isinstance(time, int)
    return time


def _source(data_source: str) -> str:
    return f"tuva-{data_source}" if data_source else "tuva"


def _enrollments(file: Path) -> tuple[list[SourceEvent], list[SourceEvent]]:
    columns = ("enrollment_start_date", "enrollment_end_date", "birth_date", "gender", "state")
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for line, (person, start, end, birth, gender, state) in rows(file, (_PERSON, *columns), (_PERSON,)):
        first = day(start, "enrollment_start_date", file, line)
        last = day(end, "enrollment_end_date", file, line) if end else OPEN
        if last < first:
            raise SourceError(f"{file.name} line {line}: enrollment_end_date {end} is before its start {start}")
        spans[person].append(Span(first, OPEN if last.year >= _OPEN_FROM else last, (birth, _sex_of(gender), state)))
    every = [span.last for of_person in spans.values() for span in of_person]
    horizon = max(every, default=OPEN)
    first_of_all: list[SourceEvent] = []
    later: list[SourceEvent] = []
    for person, of_person in spans.items():
        events = [_change(person, change) for change in changes(of_person, horizon)]
        first_of_all.append(events[0])
        later.extend(events[1:])
    return sorted(first_of_all, key=_time), sorted(later, key=_time)


def _change(person: str, change: Change) -> SourceEvent:
    birth, sex, state = change.about
    region = region_of(state)
    return enrollment(
        "tuva",
        f"{change.action}-{person}-{change.effective.isoformat()}",
        f"tuva-{person}",
        action=change.action,
        effective_date=change.effective,
        birth_date=birth,
        sex=sex,
        region=region,
        line_of_business=_LINE_OF_BUSINESS,
        policy_id=f"tuva-{_LINE_OF_BUSINESS}-{region}",
        cohort_id=f"{_LINE_OF_BUSINESS}-{region}",
        state=state_of(state),
    )


def _claims(folder: Path) -> list[SourceEvent]:
    claims = list(_lines(folder / MEDICAL))
    carried_once(claims, declared(folder / LEVELS_FILE, _source, claims))
    return claims


def _lines(file: Path) -> Iterator[SourceEvent]:
    columns = (
        *(
            "claim_id",
            "claim_line_number",
            "claim_type",
            _PERSON,
            "claim_line_start_date",
            "claim_start_date",
        ),
        *("hcpcs_code", "place_of_service_code", "bill_type_code", "revenue_center_code", "billing_npi"),
        *("charge_amount", "allowed_amount", "paid_amount", "data_source|", "diagnosis_code_type"),
        *("claim_line_end_date|", "claim_end_date|", "paid_date|", "service_unit_quantity|", "rendering_npi|"),
        *("ms_drg_code|", "discharge_disposition_code|", *_MODIFIERS, *_DIAGNOSES),
    )
    for at, row in rows(file, columns, ("claim_id", _PERSON)):
        claim, line, form, person, line_day, claim_day, procedure, place, bill, centre, npi = row[:11]
        charge, allowed, paid, data_source, code_type, line_end, claim_end, paid_day, units, rendering = row[11:21]
        drg, discharged = row[21:23]
        modifiers, diagnoses = ([code for code in codes if code] for codes in (row[23:28], row[28:]))
        if diagnoses and code_type.lower() != "icd-10-cm":
            raise SourceError(f"{file.name} line {at}: diagnosis_code_type {code_type!r}; icd-10-cm is expected")
        served = day(*((line_day, "claim_line_start_date") if line_day else (claim_day, "claim_start_date")), file, at)
        last = (line_end, "claim_line_end_date") if line_end else ("" if line_day else claim_end, "claim_end_date")
        yield SourceEvent(
            CLAIM,
            {
                "v": SCHEMA_VERSION,
                "event_id": f"medical-{claim}-{line}",
                "source": _source(data_source),
                "member_id": f"tuva-{person}",
                "time": day_ms(served),
                "claim_id": claim,
                "line": whole(line),
                "claim_type": form.strip().lower(),
                "service_date": served.isoformat(),
                "diagnoses": diagnoses,
                "procedure": procedure or None,
                "place_of_service": place or None,
                "bill_type": bill or None,
                "revenue_center": centre or None,
                "provider_id": npi or None,
                "charge_cents": cents(charge),
                "allowed_cents": cents(allowed),
                "paid_cents": cents(paid),
                "status": "paid",
                "through_date": _date(*last, file, at),
                "paid_date": _date(paid_day, "paid_date", file, at),
                "units": number(units) if units else None,
                "modifiers": modifiers,
                "rendering_id": rendering or None,
                "drg": drg or None,
                "discharge_status": discharged or None,
            },
        )


def _date(text: str, column: str, file: Path, at: int) -> str | None:
    return day(text, column, file, at).isoformat() if text else None


def _fills(file: Path) -> Iterator[SourceEvent]:
    columns = (
        *(
            "claim_id",
            "claim_line_number",
            _PERSON,
            "dispensing_date",
            "ndc_code",
            "quantity",
            "days_supply",
        ),
        *("allowed_amount", "paid_amount", "data_source|", "paid_date|"),
    )
    for at, (claim, line, person, filled, ndc, quantity, supply, allowed, paid, data_source, paid_day) in rows(
        file, columns, ("claim_id", _PERSON)
    ):
        dispensed = day(filled, "dispensing_date", file, at)
        yield SourceEvent(
            PHARMACY,
            {
                "v": SCHEMA_VERSION,
                "event_id": f"pharmacy-{claim}-{line}",
                "source": _source(data_source),
                "member_id": f"tuva-{person}",
                "time": day_ms(dispensed),
                "claim_id": claim,
                "line": whole(line),
                "ndc": ndc,
                "fill_date": dispensed.isoformat(),
                "quantity": number(quantity),
                "days_supply": whole(supply) if supply else None,
                "allowed_cents": cents(allowed),
                "paid_cents": cents(paid),
                "paid_date": _date(paid_day, "paid_date", file, at),
            },
        )
