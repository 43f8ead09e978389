CREATE TABLE model_sets (
    "model_set" smallint GENERATED ALWAYS AS IDENTITY NOT NULL,
    "model_version" text NOT NULL,
    "components" text[] NOT NULL,
    "risk_factors" text[] NOT NULL,
    "hccs" text[] NOT NULL,
    "interventions" text[] NOT NULL,
    "since" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("model_set")
);

CREATE TABLE score_rows (
    "as_of" timestamptz NOT NULL,
    "score" double precision,
    "predicted_cost" double precision,
    "cost_lower_90" double precision,
    "cost_upper_90" double precision,
    "seq" bigint NOT NULL,
    "scored_at" timestamptz DEFAULT now() NOT NULL,
    "category" smallint NOT NULL,
    "news2" smallint NOT NULL,
    "model_set" smallint NOT NULL,
    "partition" smallint NOT NULL,
    "member_id" text NOT NULL,
    "details" bytea STORAGE EXTERNAL NOT NULL
) /* time series: as_of */;

CREATE INDEX score_rows_member_id_seq_idx ON score_rows ("member_id", "seq");
