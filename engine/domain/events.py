"""The six kinds of event, each a record table that is also its JSON schema and, with coordinates, its stored table.

An event is a flat JSON object keyed in Kafka by `member_id`. The kind is the topic; `v` is the version of the schema.
"""

from dataclasses import dataclass

from engine.domain import codes
from engine.domain.metrics import LAB_TESTS, METRICS
from engine.domain.records import Column, Record, cents, day, instant, real, text, texts, whole

SCHEMA_VERSION = 1
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
ENVELOPE: tuple[Column, ...] = (
    whole("v", "Version of the event's schema", sql="smallint", low=SCHEMA_VERSION, high=SCHEMA_VERSION),
    text("event_id", "Identifier given by the source; (source, event_id) names the event once and for all"),
    text("source", "System that wrote the event, such as fitbit or tuva"),
    text("member_id", "Member the event is about; also the Kafka key"),
    instant("time", "When it happened"),
)
COORDINATES: tuple[Column, ...] = (
    whole("partition", "Kafka partition the event came from", sql="smallint"),
    whole("kafka_offset", "Kafka offset in that partition of the event's topic"),
)


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event: its name, its topic, the table its accepted events are stored in, and the payload columns."""

    name: str
    topic: str
    table: str
    doc: str
    payload: tuple[Column, ...]

    @property
    def schema(self) -> Record:
        """Envelope and payload: what stands in the JSON object."""
        return Record(self.name, self.doc, ENVELOPE + self.payload)

    @property
    def stored(self) -> Record:
        """The table of accepted events: the schema without its version, with the Kafka coordinates.

        Readings are a time series; the others are keyed by (source, event_id), the durable guard against a producer
        that repeats itself after the duplicate window has passed.
        """
        columns = ENVELOPE[1:] + self.payload + COORDINATES
        if self.name == "wearable.reading":
            return Record(self.table, self.doc, columns, time="time", indexes=(("member_id",),))
        return Record(self.table, self.doc, columns, key=("source", "event_id"), indexes=(("member_id", "time"),))


READING = EventKind(
    "wearable.reading",
    "wearable.readings",
    "readings",
    "One value of one metric from a wearable device.",
    (
        text("metric", "What was measured", choices=tuple(metric.code for metric in METRICS)),
        real("value", "The value in the metric's unit; its possible range is that of the metric"),
        text("unit", "Unit of the value; must be the metric's own", choices=tuple(sorted({m.unit for m in METRICS}))),
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
        cents("charge_cents", "Charged amount", nullable=True),
        cents("allowed_cents", "Allowed amount", nullable=True),
        cents("paid_cents", "Amount the plan paid"),
    ),
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
        cents("allowed_cents", "Allowed amount", nullable=True),
        cents("paid_cents", "Amount the plan paid"),
    ),
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
