"""The six kinds of event, each a record table that is also its JSON schema and, with coordinates, its stored table.

An event is a flat JSON object keyed in Kafka by `member_id`. The kind is the topic; `v` is the version of the schema.

Version 2 can take things back. A claim line, fill, result or reading whose `sign` is -1 repeats an earlier one with its
amounts negated and undoes it; a claim line or fill of `sign` 0 adds amounts to an earlier one. Both name it: `adjusts`.
So whatever a source corrects is the earlier event taken back, and a new one. Version 1 is read on: it lacks the
columns `added` since.
"""

from dataclasses import dataclass

from engine.domain import codes
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.domain.records import MOST_CENTS, Column, Record, cents, day, instant, real, text, texts, whole

FIRST_VERSION, SCHEMA_VERSION = 1, 2
MAX_ID = 64
"""Longest identifier in characters; a longer one is refused, so that state and keys stay bounded."""

CONDITIONS: tuple[str, ...] = (
    "hypertension",
    "coronary_heart_disease",
    "angina",
    "heart_attack",
    "other_heart_disease",
    "stroke",
    "emphysema",
    "chronic_bronchitis",
    "high_cholesterol",
    "cancer",
    "diabetes",
    "joint_pain",
    "arthritis",
    "asthma",
)
"""The priority conditions of the Medical Expenditure Panel Survey, in the order of its questionnaire."""

REGIONS: tuple[str, ...] = ("northeast", "midwest", "south", "west")
DEFAULT_TENANT = "default"
"""The tenant of members whose enrolment names none, and of tokens that name none."""
LINES_OF_BUSINESS: tuple[str, ...] = ("individual", "small_group", "large_group", "medicare_advantage", "self_funded")
_POSTAL = (
    "AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM "
    "NV NY OH OK OR PA PR RI SC SD TN TX UT VA VI VT WA WI WV WY AS GU MP"
)
STATES: tuple[str, ...] = tuple(_POSTAL.split())
"""Postal codes of the states, the District of Columbia and the territories."""
METALS: tuple[str, ...] = ("platinum", "gold", "silver", "bronze", "catastrophic")
"""Levels of a plan of the individual and the small-group market, 45 CFR 156.140 and 156.155."""
CLAIM_STATUSES: tuple[str, ...] = ("accepted", "priced", "paid", "denied")
"""How far a claim line is. A denied line is kept, and counts neither as cost nor as a diagnosis."""
ENVELOPE: tuple[Column, ...] = (
    whole("v", "Version of the event's schema", sql="smallint", low=FIRST_VERSION, high=SCHEMA_VERSION),
    text("event_id", "Identifier given by the source; (source, event_id) names the event once and for all"),
    text("source", "System that wrote the event, such as fitbit or tuva"),
    text("member_id", "Member the event is about; also the Kafka key"),
    instant("time", "When it happened"),
)
COORDINATES: tuple[Column, ...] = (
    whole("partition", "Kafka partition the event came from", sql="smallint"),
    whole("kafka_offset", "Kafka offset in that partition of the event's topic"),
)


def _adjustment(signs: str, low: int) -> tuple[Column, ...]:
    """The columns by which an event takes back or changes an earlier one."""
    return (
        whole("sign", f"{signs}; 1 where left out", sql="smallint", nullable=True, low=low, high=1),
        text(
            "adjusts",
            "event_id of the earlier event of this source that it changes; only with another sign than 1",
            nullable=True,
        ),
        whole(
            "revision",
            "How often the source has corrected the record; 0 where left out",
            sql="smallint",
            nullable=True,
            low=0,
            high=9999,
        ),
    )


_TAKEN_BACK = "1 a new one, -1 an earlier one taken back"
_SIGNED = _adjustment(
    "1 a new line, 0 amounts added to an earlier one, -1 an earlier one taken back, with its amounts negated", -1
)


_AMOUNTS = (
    cents(
        "allowed_cents", "Allowed amount; of another sign than 1, what is added to it", nullable=True, low=-MOST_CENTS
    ),
    cents(
        "paid_cents",
        "Amount the plan paid; left out until the line is priced; of another sign than 1, what is added",
        nullable=True,
        low=-MOST_CENTS,
    ),
)
_MEDICAL_AMOUNTS = (cents("charge_cents", "Charged amount, signed likewise", nullable=True, low=-MOST_CENTS), *_AMOUNTS)
AMOUNTS = tuple(column.name for column in _MEDICAL_AMOUNTS)
"""The columns of money, each in its sign."""


MARKET: tuple[Column, ...] = (
    text("state", "State of residence, whose market the policy is rated in", nullable=True, choices=STATES),
    text("rating_area", "Rating area of the state", nullable=True),
    text("plan_id", "Plan of the policy", nullable=True),
    text("metal", "Level of the plan", nullable=True, choices=METALS),
    whole(
        "csr_variant",
        "HHS's indicator of the plan's cost-sharing reduction, 0 none",
        sql="smallint",
        nullable=True,
        low=0,
        high=13,
    ),
    text("subscriber_id", "Member who holds the policy: themselves or whose dependant they are", nullable=True),
)
"""What rating, transfers and filings ask of a member."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event: its name, its topic, the table its accepted events are stored in, and the payload columns.

    Columns `added` by version 2 may be left out; an event of version 1 has none of them. `once_required` are columns
    that version 1 must have and version 2 need not.
    """

    name: str
    topic: str
    table: str
    doc: str
    payload: tuple[Column, ...]
    added: tuple[Column, ...] = ()
    once_required: tuple[str, ...] = ()

    @property
    def schema(self) -> Record:
        """Envelope and payload: what stands in the JSON object."""
        return Record(self.name, self.doc, ENVELOPE + self.payload + self.added)

    @property
    def stored(self) -> Record:
        """The table of accepted events: the schema without its version, with the Kafka coordinates.

        Readings are a time series; the others are keyed by (source, event_id), the durable guard against a producer
        that repeats itself after the duplicate window has passed.
        """
        columns = ENVELOPE[1:] + self.payload + COORDINATES + self.added
        if self.name == "wearable.reading":
            return Record(self.table, self.doc, columns, time="time", indexes=(("member_id",),))
        return Record(self.table, self.doc, columns, key=("source", "event_id"), indexes=(("member_id", "time"),))


READING = EventKind(
    "wearable.reading",
    "wearable.readings",
    "readings",
    "One value of one metric from a device or a clinic.",
    (
        text("metric", "What was measured", choices=tuple(metric.code for metric in METRICS)),
        real("value", "The value in the metric's unit; its possible range is that of the metric"),
        text("unit", "Unit of the value; must be the metric's own", choices=tuple(sorted({m.unit for m in METRICS}))),
    ),
    (
        whole(
            "utc_offset_min",
            "How far the member's clock was ahead of UTC: a day is a day of theirs; of UTC where left out",
            sql="smallint",
            unit="min",
            nullable=True,
            low=-720,
            high=840,
        ),
        *_adjustment(_TAKEN_BACK, -1),
    ),
)
CLAIM = EventKind(
    "claim.submitted",
    "claims.submitted",
    "claims",
    "One line of a medical claim.",
    (
        text("claim_id", "Claim the line belongs to"),
        whole("line", "Line number on the claim", sql="integer", low=0, high=9999),
        text("claim_type", "Form of the claim", choices=("professional", "institutional", "dental", "vision")),
        day("service_date", "First day of service"),
        texts("diagnoses", "ICD-10-CM codes, principal first; stored without dots", spelling=codes.diagnosis),
        text("procedure", "HCPCS or CPT code", nullable=True, spelling=codes.procedure),
        text(
            "place_of_service",
            "CMS place-of-service code of a professional claim",
            nullable=True,
            spelling=codes.place_of_service,
        ),
        text("bill_type", "Type of bill of an institutional claim", nullable=True, spelling=codes.bill_type),
        text(
            "revenue_center",
            "Revenue centre code of an institutional claim",
            nullable=True,
            spelling=codes.revenue_center,
        ),
        text("provider_id", "NPI of the billing provider", nullable=True),
        *_MEDICAL_AMOUNTS,
    ),
    (
        text(
            "status",
            "How far the line is; a denied one is neither cost nor diagnosis",
            nullable=True,
            choices=CLAIM_STATUSES,
        ),
        day("received_date", "Day the insurer received the claim", nullable=True),
        day("through_date", "Last day of service", nullable=True),
        day("paid_date", "Day of the payment", nullable=True),
        real("units", "Units of service", nullable=True, low=0, high=1_000_000),
        texts("modifiers", "Modifiers of the procedure", nullable=True, spelling=codes.procedure),
        text("rendering_id", "NPI of who gave the care", nullable=True),
        text("taxonomy", "Taxonomy code of who gave the care", nullable=True, spelling=codes.procedure),
        text("drg", "MS-DRG of an inpatient stay", nullable=True, spelling=codes.drg),
        text(
            "discharge_status",
            "Patient's status at discharge, UB-04 form locator 17",
            nullable=True,
            spelling=codes.place_of_service,
        ),
        text(
            "frequency_code",
            "Third digit of the type of bill or CLM05-3: 1 original, 7 replacement, 8 void",
            nullable=True,
        ),
        *_SIGNED,
    ),
    ("paid_cents",),
)
LAB = EventKind(
    "lab.result",
    "labs.results",
    "lab_results",
    "One result of one laboratory test.",
    (
        text("test", "What was tested", choices=tuple(test.code for test in LAB_TESTS)),
        real("value", "The result in the test's unit; its possible range is that of the test"),
        text("unit", "Unit of the value; must be the test's own", choices=tuple(sorted({t.unit for t in LAB_TESTS}))),
    ),
    _adjustment(_TAKEN_BACK, -1),
)
PHARMACY = EventKind(
    "pharmacy.fill",
    "pharmacy.fills",
    "pharmacy_fills",
    "One dispensed prescription.",
    (
        text("claim_id", "Pharmacy claim"),
        whole("line", "Line number on the claim", sql="integer", low=0, high=9999),
        text("ndc", "National Drug Code; stored as 11 digits without dashes", spelling=codes.ndc),
        day("fill_date", "Day it was dispensed"),
        real("quantity", "Dispensed quantity", low=0, high=100_000),
        whole("days_supply", "Days the supply lasts", sql="integer", unit="d", nullable=True, low=0, high=1000),
        *_AMOUNTS,
    ),
    (day("paid_date", "Day of the payment", nullable=True), *_SIGNED),
    ("paid_cents",),
)
SELF_REPORT = EventKind(
    "self.report",
    "members.self-reports",
    "self_reports",
    "What a member says of their own health. Every answer may be left out.",
    (
        whole("general_health", "1 excellent to 5 poor", sql="smallint", nullable=True, low=1, high=5),
        whole("mental_health", "1 excellent to 5 poor", sql="smallint", nullable=True, low=1, high=5),
        whole("stress", "0 none to 10 worst", sql="smallint", nullable=True, low=0, high=10),
        texts("conditions", f"Conditions a doctor has named, of: {', '.join(CONDITIONS)}"),
    ),
)
ENROLLMENT = EventKind(
    "enrollment.change",
    "members.enrollment",
    "enrollment_changes",
    "A member joins, changes or leaves a policy.",
    (
        text("action", "What changes", choices=("enroll", "update", "terminate")),
        day("birth_date", "Date of birth"),
        text("sex", "Sex for clinical and actuarial tables", choices=("female", "male")),
        text("region", "Census region of residence", choices=REGIONS),
        text("line_of_business", "Market the policy is filed in", choices=LINES_OF_BUSINESS),
        text("policy_id", "Policy"),
        text("cohort_id", "Rating cohort of the policy"),
        day("effective_date", "First day the change holds"),
        text(
            "tenant_id", f"Tenant whose applications see the member; `{DEFAULT_TENANT}` where left out", nullable=True
        ),
    ),
    MARKET,
)
EVENT_KINDS: tuple[EventKind, ...] = (ENROLLMENT, CLAIM, PHARMACY, LAB, SELF_REPORT, READING)
"""In the order in which a batch applies them: who the member is before what happened to them."""
SCORING_COMMAND = EventKind(
    "scoring.command",
    "scoring.commands",
    "",
    "Score all members of the partition anew as of `time`, claims and labs included. Where it names `models`, these "
    "make the scores from here on: a change of champion. Its `member_id` is *.",
    (text("models", "Versions such as base_risk-3+physiology-1+behavior-1+ensemble-1", nullable=True),),
)
KIND_OF_TOPIC: dict[str, EventKind] = {kind.topic: kind for kind in (*EVENT_KINDS, SCORING_COMMAND)}
"""What a shard consumes, in the order in which a batch applies it."""


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """An event on its way to Kafka: its kind, its member (the key) and its fields as they stand in the JSON object.

    Dates are "YYYY-MM-DD", instants integer milliseconds since 1970-01-01 UTC, money integer cents. The source's
    values are passed on as they are: judging them is the shard's work, which dead-letters with a reason.
    """

    kind: EventKind
    fields: dict[str, object]

    @property
    def member_id(self) -> str:
        """The Kafka key."""
        return str(self.fields["member_id"])
