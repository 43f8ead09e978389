"""The ledger: journals that balance, months that close, and nothing that can be changed, whoever tries.

The rules are triggers of the tables, so that no path gets round them: a program of ours, an import or a hand at psql.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_TABLES = (
    """
CREATE TABLE ledger_accounts (
    "account" text PRIMARY KEY,
    "name" text NOT NULL
)
""",
    r"""
CREATE TABLE ledger_periods (
    "period" text PRIMARY KEY CHECK (period ~ '^\d{4}-(0[1-9]|1[0-2])$'),
    "state" text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'closed')),
    "opened_at" timestamptz NOT NULL DEFAULT now(),
    "closed_at" timestamptz,
    "journals" bigint,
    "digest" bytea,
    "prepared_by" text,
    "approved_by" text,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL AND journals IS NOT NULL AND digest IS NOT NULL
                                 AND prepared_by IS NOT NULL AND approved_by IS NOT NULL)),
    CHECK (prepared_by IS NULL OR approved_by <> prepared_by)
)
""",
    """
CREATE TABLE ledger_journals (
    "journal_id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "key" text NOT NULL UNIQUE,
    "digest" bytea NOT NULL,
    "period" text NOT NULL REFERENCES ledger_periods,
    "effective" date NOT NULL CHECK (to_char(effective, 'YYYY-MM') <= period),
    "posted_at" timestamptz NOT NULL DEFAULT now(),
    "cause" text NOT NULL,
    "prepared_by" text NOT NULL,
    "approved_by" text CHECK (approved_by <> prepared_by),
    "reverses" bigint UNIQUE REFERENCES ledger_journals,
    "lines" integer NOT NULL CHECK (lines >= 2)
)
""",
    "CREATE INDEX ledger_journals_period_idx ON ledger_journals (period, journal_id)",
    """
CREATE TABLE ledger_lines (
    "journal_id" bigint NOT NULL REFERENCES ledger_journals,
    "line" integer NOT NULL,
    "account" text NOT NULL REFERENCES ledger_accounts,
    "cents" bigint NOT NULL CHECK (cents <> 0),
    "line_of_business" text NOT NULL DEFAULT '',
    "state" text NOT NULL DEFAULT '',
    "product" text NOT NULL DEFAULT '',
    "cohort" text NOT NULL DEFAULT '',
    "member" text NOT NULL DEFAULT '',
    "programme" text NOT NULL DEFAULT '',
    "incurral_month" text NOT NULL DEFAULT '',
    PRIMARY KEY (journal_id, line)
)
""",
    """
CREATE TABLE ledger_balances (
    "period" text NOT NULL REFERENCES ledger_periods,
    "account" text NOT NULL REFERENCES ledger_accounts,
    "line_of_business" text NOT NULL,
    "state" text NOT NULL,
    "cents" bigint NOT NULL,
    PRIMARY KEY (period, account, line_of_business, state)
)
""",
)
_RULES = (
    """
CREATE FUNCTION ledger_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger: % is append-only: post a reversal in the open period', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$
""",
    """
CREATE FUNCTION ledger_period_steps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE latest text;
BEGIN
    SELECT max(period) INTO latest FROM ledger_periods;
    IF TG_OP = 'INSERT' THEN
        IF NEW.state <> 'open' OR NEW.period <> to_char(to_date(latest, 'YYYY-MM') + interval '1 month', 'YYYY-MM') THEN
            RAISE EXCEPTION 'ledger: period % cannot be opened: the next one is after %', NEW.period, latest
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.period <> OLD.period OR NEW.state = OLD.state THEN
        RAISE EXCEPTION 'ledger: period % can only close or reopen', OLD.period
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'closed' AND EXISTS (SELECT FROM ledger_periods WHERE period < NEW.period AND state = 'open') THEN
        RAISE EXCEPTION 'ledger: period % cannot close: an earlier one is open', NEW.period
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.state = 'open' AND EXISTS (SELECT FROM ledger_periods WHERE period > NEW.period AND state = 'closed') THEN
        RAISE EXCEPTION 'ledger: period % cannot reopen: a later one is closed', NEW.period
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$
""",
    # FOR SHARE: whoever closes the period takes it FOR UPDATE, so that no commit can follow the close
    """
CREATE FUNCTION ledger_journals_post() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
    PERFORM FROM ledger_periods WHERE period IN (SELECT DISTINCT f.period FROM fresh f) ORDER BY period FOR SHARE;
    SELECT p.period INTO wrong FROM ledger_periods p
        WHERE p.period IN (SELECT DISTINCT f.period FROM fresh f) AND p.state <> 'open' LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: period % is closed', wrong USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT f.key INTO wrong FROM fresh f JOIN ledger_journals j ON j.journal_id = f.reverses
        WHERE j.reverses IS NOT NULL LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: journal % reverses a reversal', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- with a count of its own a mirror image could leave lines out: what its lines are is seen when they come
    SELECT f.key INTO wrong FROM fresh f JOIN ledger_journals j ON j.journal_id = f.reverses
        WHERE j.lines <> f.lines LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: journal % is not the mirror image of what it reverses', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE FUNCTION ledger_lines_post() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong text;
BEGIN
    SELECT j.key INTO wrong
        FROM (SELECT journal_id, sum(cents) AS total, count(*) AS n, min(line) AS low, max(line) AS high
              FROM fresh GROUP BY journal_id) f
        JOIN ledger_journals j USING (journal_id) JOIN ledger_periods p USING (period)
        WHERE f.total <> 0 OR f.n <> j.lines OR f.low <> 1 OR f.high <> j.lines OR p.state <> 'open' LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: journal % does not balance, lacks lines or is of a closed period', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT j.key INTO wrong FROM ledger_journals j
        WHERE j.reverses IS NOT NULL AND j.journal_id IN (SELECT journal_id FROM fresh) AND EXISTS (
            SELECT line, account, -cents, line_of_business, state, product, cohort, member, programme, incurral_month
                FROM fresh f WHERE f.journal_id = j.journal_id
            EXCEPT SELECT line, account, cents, line_of_business, state, product, cohort, member, programme,
                incurral_month FROM ledger_lines o WHERE o.journal_id = j.reverses) LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'ledger: journal % is not the mirror image of what it reverses', wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
""",
    """
CREATE FUNCTION ledger_balances_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT FROM ledger_periods WHERE period = OLD.period AND state = 'open') THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'ledger: balances of a closed period stay' USING ERRCODE = 'integrity_constraint_violation';
END $$
""",
    """
CREATE TRIGGER ledger_periods_step BEFORE INSERT OR UPDATE OR DELETE ON ledger_periods
    FOR EACH ROW EXECUTE FUNCTION ledger_period_steps()
""",
    """
CREATE TRIGGER ledger_journals_post AFTER INSERT ON ledger_journals REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_journals_post()
""",
    """
CREATE TRIGGER ledger_lines_post AFTER INSERT ON ledger_lines REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_lines_post()
""",
    """
CREATE TRIGGER ledger_balances_stay BEFORE UPDATE OR DELETE ON ledger_balances
    FOR EACH ROW EXECUTE FUNCTION ledger_balances_stay()
""",
    *(
        f"CREATE TRIGGER {table}_stays BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays()"
        for table in ("ledger_journals", "ledger_lines")
    ),
    *(
        f"CREATE TRIGGER {table}_remains BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION ledger_stays()"
        for table in ("ledger_journals", "ledger_lines", "ledger_balances", "ledger_periods")
    ),
)


def upgrade() -> None:
    """Tables and rules."""
    for statement in (*_TABLES, *_RULES):
        op.execute(statement)
