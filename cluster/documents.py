"""The documents that derive from record tables, catalogues, features, metrics and model cards."""

import json
from collections.abc import Iterable

import yaml

from actors.metric_list import grouped
from cluster.observability.alerts import ALERTS, prometheus_rule
from cluster.observability.dashboards import DASHBOARDS, grafana
from engine.domain.events import EVENT_KINDS, FIRST_VERSION, SCHEMA_VERSION, SCORING_COMMAND, EventKind
from engine.domain.metrics import LAB_INDEX, LAB_TESTS, METRIC_INDEX, METRICS
from engine.domain.model_set import MODEL_NAMES
from engine.domain.records import Column, Record
from engine.domain.tables import TABLES
from engine.learning import meps, registry
from engine.learning import nhanes as nhanes_sources
from engine.learning.model_page import page
from engine.scoring.features import BASE_FEATURES, SUPPLIES
from engine.scoring.measures import MEASURE_OF_TEST, VALID_US
from engine.scoring.member_state import DAYS
from engine.scoring.physiology import MEASURES
from engine.scoring.steps_forecast import SERIES

_JSON = {
    "text": "string",
    "double precision": "number",
    "timestamptz": "integer, ms since 1970-01-01 UTC",
    "date": 'string "YYYY-MM-DD"',
    "text[]": "array of strings",
    "boolean": "boolean",
}
_TELLERS = {"vitanexus": "VitaNexus", "serve": "Ray Serve", "ray": "Ray"}
_GENERATED = "<!-- Written by `vitanexus docs` from the declarations in the code; do not edit. -->"


def pages() -> dict[str, str]:
    """Every file that `vitanexus docs` writes, by its path from the repository's root."""
    found = {"docs/events.md": events_page(), "docs/tables.md": tables_page(), "docs/features.md": features_page()}
    for name in MODEL_NAMES:
        path = f"docs/models/{name.replace('_', '-')}.md"
        found[path] = f"{_GENERATED}\n{page(registry.card(name), registry.MODELS)}"
    return {**found, "docs/metrics.md": metrics_page(), **monitoring_files()}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]


def _bounds(column: Column) -> str:
    if column.choices and len(column.choices) <= 6:
        return ", ".join(f"`{choice}`" for choice in column.choices)
    if column.choices:
        return "a code of the catalogue below"
    low = "" if column.low is None else f">= {column.low:g}"
    high = "" if column.high is None else f"<= {column.high:g}"
    return ", ".join(filter(None, (low, high)))


def _required(kind: EventKind, column: Column) -> str:
    if column in kind.added:
        return f"no; version {SCHEMA_VERSION}"
    if column.name in kind.once_required:
        return f"in version {FIRST_VERSION}"
    return "no" if column.nullable else "yes"


def _event(kind: EventKind) -> list[str]:
    rows = [
        (f"`{c.name}`", _JSON.get(c.sql, "integer"), c.unit, _required(kind, c), _bounds(c), c.doc) for c in kind.schema
    ]
    lines = [f"## {kind.name}", "", kind.doc, "", f"Topic `{kind.topic}`."]
    lines[-1] += f" Accepted events are stored in `{kind.table}`." if kind.table else " Not stored."
    return [*lines, "", *_table(("field", "JSON", "unit", "required", "allowed", "meaning"), rows), ""]


def events_page() -> str:
    """docs/events.md."""
    lines = ["# Events", "", _GENERATED, ""]
    lines += [
        f"Every event is a flat JSON object (UTF-8) of version {SCHEMA_VERSION}, keyed in Kafka by `member_id`; the",
        f"topic is its kind. Version {FIRST_VERSION} is read as well; it has none of the fields that are marked as of",
        f"version {SCHEMA_VERSION}. Topics have 64 partitions; murmur2 places the key (the Java client's default).",
        "`(source, event_id)` names an event once and for all: a repeat is dropped as a duplicate. An unknown field, a",
        "wrong type, an impossible value or a `time` more than 10 minutes after the broker took the event makes it a",
        "dead letter with its reason. An event of a member who is not enrolled yet is held until they are; it becomes",
        "a dead letter once its partition's log has records later by `shards.pending_seconds`, a day unless set.",
        "",
        "Nothing is edited; what was wrong is taken back. A claim line, fill, result or reading whose `sign` is -1",
        "repeats an earlier one, which `adjusts` names, with its amounts negated: costs, counts, diagnoses and sums",
        "are then as if it had never been. A replaced claim is its lines taken back and new lines. `sign` 0 adds",
        "amounts to an earlier line, as when it is priced, paid or repriced. Claim lines and fills may be taken back",
        "before they come; readings and results after. Where the latest reading of a metric is taken back none is",
        "known until the next; of results the one before it is the latest again, one deep.",
        "",
    ]
    for kind in (*EVENT_KINDS, SCORING_COMMAND):
        lines += _event(kind)
    lines += ["## Metrics", "", "Units and possible ranges of `wearable.reading`.", ""]
    lines += _table(
        ("metric", "name", "unit", "from", "to", "a day is"),
        [(f"`{m.code}`", m.name, m.unit, f"{m.low:g}", f"{m.high:g}", f"the {m.daily}") for m in METRICS],
    )
    lines += ["", "## Laboratory tests", "", "Units and possible ranges of `lab.result`.", ""]
    lines += _table(
        ("test", "name", "LOINC", "unit", "from", "to"),
        [(f"`{t.code}`", t.name, t.loinc, t.unit, f"{t.low:g}", f"{t.high:g}") for t in LAB_TESTS],
    )
    return "\n".join(lines) + "\n"


def _record(record: Record) -> list[str]:
    key = f"Key: {', '.join(f'`{name}`' for name in record.key)}." if record.key else "No key."
    series = f" Time series by `{record.time}`: a hypertable, or monthly partitions." if record.time else ""
    rows = [(f"`{c.name}`", c.sql, c.unit, "yes" if c.nullable else "", c.doc) for c in record]
    return [
        f"## {record.name}",
        "",
        record.doc,
        "",
        key + series,
        "",
        *_table(("column", "type", "unit", "null", "meaning"), rows),
        "",
    ]


def tables_page() -> str:
    """docs/tables.md."""
    lines = ["# Tables", "", _GENERATED, ""]
    for record in TABLES:
        lines += _record(record)
    return "\n".join(lines).rstrip() + "\n"


def metrics_page() -> str:
    """docs/metrics.md."""
    lines = ["# Metrics", "", _GENERATED, ""]
    lines += [
        "What Prometheus reads from the metrics port of every node (8080; on one machine the ports that Ray lists in",
        "`prom_metrics_service_discovery.json` of its session). `vitanexus status` shows the same in the terminal, and",
        "`cluster/kuberay/monitoring` has the dashboards and alert rules made from them. A histogram's name ends in",
        "`_bucket`, `_sum` or `_count`.",
        "",
    ]
    for group, metrics in grouped():
        rows = [
            (f"`{m.series[0].removesuffix('_bucket')}`", m.kind, ", ".join(m.labels), m.unit, m.doc, _TELLERS[m.teller])
            for m in metrics
        ]
        lines += [f"## {group.capitalize()}", ""]
        lines += [*_table(("metric", "kind", "labels", "unit", "meaning", "told by"), rows), ""]
    lines += ["## Alerts", "", "What to do about each: [operations.md](operations.md#alerts).", ""]
    alerts = [
        (f"[{a.name}](operations.md#{a.anchor})", a.severity, f"`{a.expr}`".replace("|", "\\|"), a.lasts)
        for a in ALERTS
    ]
    return "\n".join([*lines, *_table(("alert", "severity", "fires when", "for"), alerts)]) + "\n"


def monitoring_files() -> dict[str, str]:
    """The files of cluster/kuberay/monitoring that Grafana and Prometheus read."""
    folder = "cluster/kuberay/monitoring"
    files = {f"{folder}/{d.uid}.json": json.dumps(grafana(d), indent=1) + "\n" for d in DASHBOARDS}
    rules = yaml.safe_dump(prometheus_rule(), sort_keys=False, width=120)
    return files | {
        f"{folder}/rules.yaml": f"# Written by `vitanexus docs` from the declarations in the code.\n{rules}"
    }


def features_page() -> str:
    """docs/features.md."""
    return "\n".join(["# Features", "", _GENERATED, "", *_base_features(), *_measures(), *_series()]) + "\n"


def _base_features() -> list[str]:
    groups = [(name, s.window, s.events, s.missing, f"`{s.state}`") for name, s in SUPPLIES.items()]
    health = {"age": "age_in_years_at_screening", "male": "gender", "general_health": "general_health_condition"}
    nhanes = {code: f"`{column}`" for code, column in (health | nhanes_sources.STEPS_CONDITIONS).items()}
    rows = [
        (f"`{f.code}`", f.label, f.unit, f.group, f"`{meps.SUPPLY[f.code]}`", nhanes.get(f.code, ""))
        for f in BASE_FEATURES
    ]
    lines = ["## Base risk", "", "Where each group of features comes from in the engine:", ""]
    lines += _table(("group", "window", "source events", "where it is missing", "member state"), groups)
    lines += [
        "",
        "Nothing dated after the as-of time enters a feature; family history is not one (45 CFR 146.122).",
        "",
    ]
    lines += _table(("feature", "definition", "unit", "group", "MEPS (fit)", "NHANES 2011-14 (ensemble)"), rows)
    return [*lines, ""]


def _measures() -> list[str]:
    tests = {measure: LAB_TESTS[LAB_INDEX[test]] for test, measure in MEASURE_OF_TEST.items()}
    told = {"age": "enrollment.change", "male": "enrollment.change", "health": "self.report"}
    rows = []
    for m in MEASURES:
        source = told.get(m.code) or f"lab.result `{tests[m.code].code}` (LOINC {tests[m.code].loinc})"
        rows.append((f"`{m.code}`", m.label, m.unit, f"{m.low:g} to {m.high:g}", source))
    return [
        "## Physiology",
        "",
        f"The latest result of the {VALID_US // 86_400_000_000} days up to the as-of time (member",
        "state `latest_results`); the NHANES III column has the measure's own name. A value outside the range, and one",
        "that is not known, is put at what age and sex lead to expect. With fewer than five measures there is no",
        "physiology.",
        "",
        *_table(("measure", "definition", "unit", "range", "source event"), rows),
        "",
    ]


def _series() -> list[str]:
    metrics = [METRICS[METRIC_INDEX[code]] for code in SERIES]
    rows = [(f"`{m.code}`", m.name, m.unit, f"the {m.daily}") for m in metrics]
    return [
        "## Steps forecast",
        "",
        f"Daily values of the {DAYS - 1} complete days before the latest reading's, from the first with any; a day",
        "without a reading is masked. Source event `wearable.reading`; member state `daily`.",
        "Fitted on LifeSnaps (all series) and Fitabase (steps, sleep, active minutes).",
        "",
        *_table(("series", "definition", "unit", "a day is"), rows),
    ]
