"""Every table of the database as a record table: DDL, COPY writers, queries and docs derive from these."""

from engine.domain.events import DEFAULT_TENANT, EVENT_KINDS, LINES_OF_BUSINESS, MARKET, REGIONS
from engine.domain.records import (
    Column,
    Record,
    blob,
    day,
    document,
    flag,
    instant,
    real,
    text,
    texts,
    whole,
)

MODEL_STAGES = ("candidate", "champion", "retired")
SHARD_STATES = ("joining", "active", "standby", "drained", "leaving")
RUN_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
AUDIT_OUTCOMES = ("allowed", "denied")
RISK_CATEGORIES = ("Low", "Moderate", "High", "Critical", "Insufficient data")
"""Of these the last, which has no score, is -1 where categories are numbers."""
_CATEGORY_CODES = ", ".join(f"{i} {name}" for i, name in enumerate(RISK_CATEGORIES[:-1])) + ", -1 Insufficient data"


def tenant(doc: str) -> Column:
    """The tenant a row belongs to."""
    return text("tenant_id", doc, default=f"'{DEFAULT_TENANT}'")


def amount(name: str, doc: str) -> Column:
    """An exact amount of dollars as Decimal with two places, for results that people file and sign."""
    return Column(name, "O", "numeric(16,2)", doc, unit="USD")


MEMBERS = Record(
    "members",
    "One row a member, as the latest enrolment event left it.",
    (
        text("member_id", "Member"),
        day("birth_date", "Date of birth"),
        text("sex", "Sex for clinical and actuarial tables", choices=("female", "male")),
        text("region", "Census region of residence", choices=REGIONS),
        text("line_of_business", "Market the policy is filed in", choices=LINES_OF_BUSINESS),
        text("policy_id", "Policy"),
        text("cohort_id", "Rating cohort of the policy"),
        flag("active", "False from the termination of the policy"),
        day("effective_date", "First day the latest change holds"),
        whole("partition", "Partition that owns the member", sql="smallint"),
        tenant("Tenant whose applications see the member"),
        instant("updated_at", "When the row was written", default="now()"),
        *MARKET,
    ),
    key=("member_id",),
    indexes=(("cohort_id",),),
)
POLICIES = Record(
    "policies",
    "One row a policy.",
    (
        text("policy_id", "Policy"),
        text("line_of_business", "Market the policy is filed in", choices=LINES_OF_BUSINESS),
        text("cohort_id", "Rating cohort"),
    ),
    key=("policy_id",),
)
PROVIDERS = Record(
    "providers",
    "One row a billing provider seen on a claim.",
    (text("provider_id", "NPI"), day("first_service", "Earliest service date seen")),
    key=("provider_id",),
)
READINGS_DAILY = Record(
    "readings_daily",
    "Readings summed up by member, metric and day of event time (UTC), days that have ended: what charts and long "
    "memory are made of. What was taken back is in neither count nor sum. With TimescaleDB's own licence a continuous "
    "aggregate, otherwise kept by `vitanexus series keep`.",
    (
        instant("day", "When the day begins"),
        text("member_id", "Member"),
        text("metric", "What was measured"),
        whole("readings", "How many readings"),
        real("total", "Sum of their values, in the metric's unit"),
        real("lowest", "The least"),
        real("highest", "The greatest"),
    ),
    key=("member_id", "metric", "day"),
    time="day",
)
ROLLUPS_DUE = Record(
    "rollups_due",
    "Days whose readings have changed since they were summed up; a continuous aggregate keeps its own account.",
    (
        text("series", "Table of the readings"),
        instant("day", "When the day begins"),
    ),
)
SCORE_ROWS = Record(
    "score_rows",
    "Score history: one row each time a member's score says something new, see docs/scoring.md. The newest row of a "
    "member has the highest `seq`. Read the view `scores`: it has the rows in words, with `category`, `news2` (null), "
    "`components`, `risk_factors`, `factor_dollars`, `factor_values`, `hccs`, `interventions` and `model_version`.",
    (
        instant("as_of", "Event time of the latest event the score knows of"),
        real(
            "score", "Health score: 1 healthiest to 100, a percentile of predicted risk", low=1, high=100, nullable=True
        ),
        real("predicted_cost", "Predicted cost of the next year", unit="USD", nullable=True),
        real("cost_lower_90", "Lower end of the 90 % prediction interval", unit="USD", nullable=True),
        real("cost_upper_90", "Upper end of the 90 % prediction interval", unit="USD", nullable=True),
        whole("seq", "Number of the commit that scored the member, increasing within the partition"),
        instant("scored_at", "When the row was written", default="now()"),
        whole("category", f"Risk category: {_CATEGORY_CODES}", sql="smallint", low=-1, high=3),
        whole("news2", "NEWS2 aggregate of the vital signs of the last 24 h, -1 where there are none", sql="smallint"),
        whole("model_set", "Models and rules, and the words that `details` speaks of", sql="smallint"),
        whole("partition", "Partition of the member", sql="smallint"),
        text("member_id", "Member"),
        blob("details", "Components, risk factors, HCCs and interventions, see engine/storage/score_rows.py"),
    ),
    time="as_of",
    indexes=(("member_id", "seq"),),
)
MODEL_SETS = Record(
    "model_sets",
    "What the numbers of score rows stand for: the version of models and rules, and the words by their index.",
    (
        whole("model_set", "Number of the set", sql="smallint", default="identity"),
        text("model_version", "Version of the models and rules"),
        texts("components", "Component models that can take part"),
        texts("risk_factors", "Codes of the risk factors"),
        texts("hccs", "CMS-HCCs that the clinical risk can be made of"),
        texts("interventions", "Codes of the catalogue's interventions"),
        instant("since", "When the first row was written", default="now()"),
    ),
    key=("model_set",),
)
PARTITION_LEASES = Record(
    "partition_leases",
    "Who owns a partition. A commit holds the row with the owner's token; a lost token fences the former owner.",
    (
        whole("partition", "Partition", sql="smallint"),
        text("owner", "Name of the owning shard"),
        text("token", "Random token of this tenure"),
        instant("expires_at", "From when another owner may take over"),
    ),
    key=("partition",),
)
PARTITION_ASSIGNMENTS = Record(
    "partition_assignments",
    "Where each partition belongs: the shard gives up and takes until the leases are the same.",
    (
        whole("partition", "Partition", sql="smallint"),
        text("shard", "Name of the shard"),
        instant("since", "When it was assigned", default="now()"),
    ),
    key=("partition",),
)
SHARDS = Record(
    "shards",
    "The shards that are wanted, and what each said of itself last. A process that finds another token here is fenced.",
    (
        text("shard", "Name of the shard"),
        text(
            "state",
            "joining: takes its share once it is alive; active; standby: takes the place of an active one that ends; "
            "drained: runs without partitions; leaving: ends",
            choices=SHARD_STATES,
        ),
        text("token", "Random token of the process that entered last", nullable=True),
        instant("entered_at", "When that process entered", nullable=True),
        instant("seen_at", "When it was heard of last", nullable=True),
        whole("held", "Partitions it has recovered and reads", sql="smallint", default="0"),
        whole("members", "Members of those", default="0"),
        whole("behind", "Records in the log behind its last batches", default="0"),
    ),
    key=("shard",),
)
PARTITION_OFFSETS = Record(
    "partition_offsets",
    "Where each topic partition stands, and what became of its events: next_offset - first_offset = "
    "applied + duplicates + dead_letters + gaps + pending.",
    (
        text("topic", "Topic"),
        whole("partition", "Partition", sql="smallint"),
        whole("first_offset", "First offset ever consumed"),
        whole("next_offset", "Next offset to consume"),
        whole("applied", "Events applied"),
        whole("duplicates", "Events already applied before"),
        whole("dead_letters", "Events refused with a reason"),
        whole("gaps", "Offsets that hold no event: control records and compacted ones"),
        whole("pending", "Events held for a member who is not enrolled yet"),
        text("cluster_id", "Cluster the offsets belong to"),
        text("topic_id", "Topic id the offsets belong to"),
        instant("updated_at", "When the row was written", default="now()"),
    ),
    key=("topic", "partition"),
)
PARTITION_COMMITS = Record(
    "partition_commits",
    "The commits since the last snapshot of a partition: replay follows the same batch boundaries.",
    (
        whole("partition", "Partition", sql="smallint"),
        whole("seq", "Number of the commit"),
        document("offsets", "Next offset of each topic after the commit"),
        whole(
            "expired_ms",
            "Pending events whose record is as old became dead letters; none where nothing was pending",
            unit="ms since 1970",
            nullable=True,
        ),
    ),
    key=("partition", "seq"),
)
MEMBER_STATE = Record(
    "member_state",
    "The latest columnar snapshot of each partition, with the offsets it stands at.",
    (
        whole("partition", "Partition", sql="smallint"),
        whole("seq", "Commit the snapshot was taken in"),
        document("offsets", "Next offset of each topic at the snapshot"),
        instant("watermark", "Latest event time applied", nullable=True),
        text("model_version", "Version of the models and rules the scores in it come from"),
        whole("members", "Members in it"),
        blob("payload", "Columns of the state, see engine/domain/packed_arrays.py, compressed by zstd"),
        instant("taken_at", "When the row was written", default="now()"),
    ),
    key=("partition",),
)
DEAD_LETTERS = Record(
    "dead_letters",
    "Events that cannot be used, with the reason. Payloads are kept up to a cap.",
    (
        text("topic", "Topic"),
        whole("partition", "Partition", sql="smallint"),
        whole("kafka_offset", "Offset"),
        text("cluster_id", "Cluster whose log the offset belongs to"),
        text("reason", "Stable code of the reason"),
        text("field", "Offending field, empty for the whole record"),
        text("message", "What is wrong, with the value"),
        blob("payload", "The event's first bytes"),
        whole("payload_bytes", "Full size of the event", unit="bytes"),
        instant("recorded_at", "When the row was written", default="now()"),
        instant("replayed_at", "When `vitanexus dead-letters replay` sent it again", nullable=True, default="NULL"),
    ),
    key=("cluster_id", "topic", "partition", "kafka_offset"),
)
OUTBOX = Record(
    "outbox",
    "Messages that wait for the relay; a row is deleted once the broker has acknowledged it.",
    (
        Column("id", "i8", "bigint", "Order of publication", default="identity"),
        text("topic", "Topic to publish to"),
        text("message_key", "Kafka key"),
        blob("payload", "The message as JSON; of scores.updated a whole batch's, packed as columns"),
        instant("created_at", "When the row was written", default="clock_timestamp()"),
    ),
    key=("id",),
)
SIMULATION_RUNS = Record(
    "simulation_runs",
    "One row a simulation job.",
    (
        text("run_id", "Identifier of the run"),
        tenant("Tenant whose applications see the run"),
        text("kind", "What was simulated, such as reserve or ibnr"),
        document("spec", "The frozen specification"),
        whole("seed", "Seed of the counter-based generator"),
        whole("scenarios", "Number of scenarios"),
        text("engine_version", "Version of VitaNexus"),
        text("status", "Where the run stands", choices=RUN_STATES),
        whole("batches", "Batches of the run, 0 until it has begun", default="0"),
        whole("batches_done", "Batches that are done", default="0"),
        text("error", "Why it failed", nullable=True),
        document("result", "The whole result", nullable=True),
        document("manifest", "Versions, hashes of inputs and tables, machine", nullable=True),
        instant("submitted_at", "When it was submitted", default="clock_timestamp()"),
        instant("started_at", "When it began", nullable=True),
        instant("finished_at", "When it ended", nullable=True),
    ),
    key=("run_id",),
    indexes=(("submitted_at",),),
)
SIMULATION_RESULTS = Record(
    "simulation_results",
    "The measures of a run, each with its standard error.",
    (
        text("run_id", "Run"),
        text("measure", "Name of the measure, such as mean, VaR or TVaR"),
        real("level", "Probability level of a quantile measure; -1 where there is none"),
        real("value", "The estimate", unit="USD"),
        real("standard_error", "Standard error of the estimate", unit="USD"),
    ),
    key=("run_id", "measure", "level"),
)
PREMIUM_RECOMMENDATIONS = Record(
    "premium_recommendations",
    "Filing recommendations for cohorts, with every factor that made them.",
    (
        text("recommendation_id", "Identifier of the recommendation"),
        tenant("Tenant whose applications see the recommendation"),
        text("cohort_id", "Cohort it is for"),
        text("line_of_business", "Market", choices=LINES_OF_BUSINESS),
        day("effective_date", "First day the premium would hold"),
        amount("base_premium", "Premium a member a month before the change"),
        amount("recommended_premium", "Premium a member a month after the change"),
        document("factors", "Inputs and factors as exact decimals"),
        flag("rate_review", "True where the change needs a rate review"),
        instant("created_at", "When the row was written", default="now()"),
    ),
    key=("recommendation_id",),
    indexes=(("cohort_id",),),
)
MODEL_REGISTRY = Record(
    "model_registry",
    "The fitted models and their stage. One version of each model is the champion: its scores are the ones served.",
    (
        text("name", "Model"),
        text("version", "Version"),
        text("sha256", "Digest of the model files and of what was calibrated"),
        document("card", "Model card: features, training data with their digests, code version, metrics"),
        text("stage", "Where it stands in its life", choices=MODEL_STAGES),
        text("approver", "Who approved the stage; nobody for a candidate", nullable=True),
        instant("registered_at", "When the row was written", default="now()"),
        instant("staged_at", "When it came to its stage", default="now()"),
    ),
    key=("name", "version"),
)
MODEL_PROMOTIONS = Record(
    "model_promotions",
    "Every change of champion, in order. The first names the models of a shard that has met none in the log.",
    (
        Column("promotion", "i8", "bigint", "Number of the change", default="identity"),
        text("models", "The champions from here on, such as base_risk-3+physiology-1+behavior-1+ensemble-1"),
        text("approver", "Who approved it"),
        text("reason", "Why"),
        instant("decided_at", "When the row was written", default="now()"),
        instant("applied_at", "When every partition had applied it; until then it is pending", nullable=True),
    ),
    key=("promotion",),
)
AUDIT_EVENTS = Record(
    "audit_events",
    "Who looked at which member's health data, when and why: one row a read, and one a read that was denied.",
    (
        text("event_id", "Identifier of the event, so that writing it twice leaves one row"),
        instant("occurred_at", "When the data were asked for"),
        text("actor", "User or service the token speaks for (sub)"),
        text("client", "Application that asked (client_id)"),
        text("tenant_id", "Tenant of the caller"),
        text("action", "What was done, such as read"),
        text("resource", "What was looked at, such as member.score"),
        text("member_id", "Member the data are of; null for a record the caller supplied", nullable=True),
        text("purpose", "Why, as the token or the request says"),
        text("outcome", "Whether the data were given", choices=AUDIT_OUTCOMES),
        text("request_id", "Request it was part of"),
        instant("recorded_at", "When the row was written", default="now()"),
    ),
    key=("occurred_at", "event_id"),
    time="occurred_at",
    indexes=(("member_id", "occurred_at"), ("actor", "occurred_at")),
)
DENIED_TOKENS = Record(
    "denied_tokens",
    "Access tokens that were revoked before they expired.",
    (
        text("token_id", "Identifier of the token (jti)"),
        text("reason", "Why it was revoked"),
        instant("expires_at", "When the token expires and the row may go"),
        instant("denied_at", "When the row was written", default="now()"),
    ),
    key=("token_id",),
)
IDEMPOTENCY_KEYS = Record(
    "idempotency_keys",
    "Writes that carried an Idempotency-Key, with the answer that a repeat is given.",
    (
        text("tenant_id", "Tenant of the caller"),
        text("subject", "Caller"),
        text("idempotency_key", "The key"),
        text("path", "Path it was sent to"),
        blob("request_digest", "SHA-256 of the request's body"),
        whole(
            "status", "Status of the answer; null while the first request is under way", sql="smallint", nullable=True
        ),
        document("headers", "Headers of the answer that a repeat needs", nullable=True),
        blob("body", "Body of the answer", nullable=True),
        instant("begun_at", "When the first request began", default="clock_timestamp()"),
    ),
    key=("tenant_id", "subject", "idempotency_key"),
    indexes=(("begun_at",),),
)
LEDGER_ACCOUNTS = Record(
    "ledger_accounts",
    "The chart of accounts, of `engine.finance.ledger`.",
    (text("account", "Code; its first digit is the kind"), text("name", "Name")),
    key=("account",),
)
LEDGER_PERIODS = Record(
    "ledger_periods",
    "The months of the ledger. They open one after the other and close in order, with two signatures; only the latest "
    "closed one reopens. A closed month takes no journal, whoever brings it.",
    (
        text("period", "Month, YYYY-MM"),
        text("state", "Where it stands", choices=("open", "closed"), default="'open'"),
        instant("opened_at", "When it was opened", default="now()"),
        instant("closed_at", "When it was closed", nullable=True),
        whole("journals", "Journals in it at its close", nullable=True),
        blob("digest", "SHA-256 of the digest before it, its trial balance and `journals`", nullable=True),
        text("prepared_by", "Who closed it", nullable=True),
        text("approved_by", "Who else signed", nullable=True),
    ),
    key=("period",),
)
LEDGER_JOURNALS = Record(
    "ledger_journals",
    "Journals: facts booked once. Nothing is changed or deleted; a mistake is taken back by its mirror image.",
    (
        Column("journal_id", "i8", "bigint", "Number", default="identity"),
        text("key", "The business fact, such as 2026-11/reward/M123: there is one journal of it"),
        blob("digest", "SHA-256 of what it says: the same key with other content is refused"),
        text("period", "Month it is booked in"),
        day("effective", "Day of the fact"),
        instant("posted_at", "When it was posted", default="now()"),
        text("cause", "Why"),
        text("prepared_by", "Who or what made it"),
        text("approved_by", "Who approved it", nullable=True),
        whole("reverses", "Journal whose mirror image this is", nullable=True),
        whole("lines", "How many lines it has", sql="integer"),
    ),
    key=("journal_id",),
    indexes=(("period", "journal_id"),),
)
LEDGER_LINES = Record(
    "ledger_lines",
    "The lines of journals, debits positive; those of a journal sum to zero.",
    (
        whole("journal_id", "Journal"),
        whole("line", "Number of the line", sql="integer"),
        text("account", "Account"),
        whole("cents", "Amount, debits positive", unit="cents"),
        *(
            text(name, doc, default="''")
            for name, doc in (
                ("line_of_business", "Market, or empty"),
                ("state", "State, or empty"),
                ("product", "Plan or product, or empty"),
                ("cohort", "Rating cohort, or empty"),
                ("member", "Pseudonym of the member, or empty"),
                ("programme", "Prevention programme, or empty"),
                ("incurral_month", "Month of incurral, YYYY-MM, or empty"),
            )
        ),
    ),
    key=("journal_id", "line"),
)
LEDGER_BALANCES = Record(
    "ledger_balances",
    "What stood on the accounts when a month closed: a trial balance is these and the journals since.",
    (
        text("period", "Closed month"),
        text("account", "Account"),
        text("line_of_business", "Market, or empty"),
        text("state", "State, or empty"),
        whole("cents", "Balance at the month's end, debits positive", unit="cents"),
    ),
    key=("period", "account", "line_of_business", "state"),
)
TABLES: tuple[Record, ...] = (
    MEMBERS,
    POLICIES,
    PROVIDERS,
    *(kind.stored for kind in EVENT_KINDS),
    READINGS_DAILY,
    ROLLUPS_DUE,
    SCORE_ROWS,
    MODEL_SETS,
    PARTITION_LEASES,
    PARTITION_ASSIGNMENTS,
    SHARDS,
    PARTITION_OFFSETS,
    PARTITION_COMMITS,
    MEMBER_STATE,
    DEAD_LETTERS,
    OUTBOX,
    SIMULATION_RUNS,
    SIMULATION_RESULTS,
    PREMIUM_RECOMMENDATIONS,
    MODEL_REGISTRY,
    MODEL_PROMOTIONS,
    AUDIT_EVENTS,
    DENIED_TOKENS,
    IDEMPOTENCY_KEYS,
    LEDGER_ACCOUNTS,
    LEDGER_PERIODS,
    LEDGER_JOURNALS,
    LEDGER_LINES,
    LEDGER_BALANCES,
)
TABLE: dict[str, Record] = {record.name: record for record in TABLES}
