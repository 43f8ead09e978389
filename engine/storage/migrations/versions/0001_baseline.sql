CREATE TABLE members (
    "member_id" text NOT NULL,
    "birth_date" date NOT NULL,
    "sex" text NOT NULL CHECK ("sex" IN ('female', 'male')),
    "region" text NOT NULL CHECK ("region" IN ('northeast', 'midwest', 'south', 'west')),
    "line_of_business" text NOT NULL CHECK ("line_of_business" IN ('individual', 'small_group', 'large_group', 'medicare_advantage', 'self_funded')),
    "policy_id" text NOT NULL,
    "cohort_id" text NOT NULL,
    "active" boolean NOT NULL,
    "effective_date" date NOT NULL,
    "partition" smallint NOT NULL,
    "tenant_id" text DEFAULT 'default' NOT NULL,
    "updated_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("member_id")
);

CREATE INDEX members_cohort_id_idx ON members ("cohort_id");

CREATE TABLE policies (
    "policy_id" text NOT NULL,
    "line_of_business" text NOT NULL CHECK ("line_of_business" IN ('individual', 'small_group', 'large_group', 'medicare_advantage', 'self_funded')),
    "cohort_id" text NOT NULL,
    PRIMARY KEY ("policy_id")
);

CREATE TABLE providers (
    "provider_id" text NOT NULL,
    "first_service" date NOT NULL,
    PRIMARY KEY ("provider_id")
);

CREATE TABLE enrollment_changes (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "action" text NOT NULL CHECK ("action" IN ('enroll', 'update', 'terminate')),
    "birth_date" date NOT NULL,
    "sex" text NOT NULL CHECK ("sex" IN ('female', 'male')),
    "region" text NOT NULL CHECK ("region" IN ('northeast', 'midwest', 'south', 'west')),
    "line_of_business" text NOT NULL CHECK ("line_of_business" IN ('individual', 'small_group', 'large_group', 'medicare_advantage', 'self_funded')),
    "policy_id" text NOT NULL,
    "cohort_id" text NOT NULL,
    "effective_date" date NOT NULL,
    "tenant_id" text,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    PRIMARY KEY ("source", "event_id")
);

CREATE INDEX enrollment_changes_member_id_time_idx ON enrollment_changes ("member_id", "time");

CREATE TABLE claims (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "claim_id" text NOT NULL,
    "line" integer NOT NULL,
    "claim_type" text NOT NULL CHECK ("claim_type" IN ('professional', 'institutional', 'dental', 'vision')),
    "service_date" date NOT NULL,
    "diagnoses" text[] NOT NULL,
    "procedure" text,
    "place_of_service" text,
    "bill_type" text,
    "revenue_center" text,
    "provider_id" text,
    "charge_cents" bigint,
    "allowed_cents" bigint,
    "paid_cents" bigint NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    PRIMARY KEY ("source", "event_id")
);

CREATE INDEX claims_member_id_time_idx ON claims ("member_id", "time");

CREATE TABLE pharmacy_fills (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "claim_id" text NOT NULL,
    "line" integer NOT NULL,
    "ndc" text NOT NULL,
    "fill_date" date NOT NULL,
    "quantity" double precision NOT NULL,
    "days_supply" integer,
    "allowed_cents" bigint,
    "paid_cents" bigint NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    PRIMARY KEY ("source", "event_id")
);

CREATE INDEX pharmacy_fills_member_id_time_idx ON pharmacy_fills ("member_id", "time");

CREATE TABLE lab_results (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "test" text NOT NULL,
    "value" double precision NOT NULL,
    "unit" text NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    PRIMARY KEY ("source", "event_id")
);

CREATE INDEX lab_results_member_id_time_idx ON lab_results ("member_id", "time");

CREATE TABLE self_reports (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "general_health" smallint,
    "mental_health" smallint,
    "stress" smallint,
    "conditions" text[] NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    PRIMARY KEY ("source", "event_id")
);

CREATE INDEX self_reports_member_id_time_idx ON self_reports ("member_id", "time");

CREATE TABLE readings (
    "event_id" text NOT NULL,
    "source" text NOT NULL,
    "member_id" text NOT NULL,
    "time" timestamptz NOT NULL,
    "metric" text NOT NULL,
    "value" double precision NOT NULL,
    "unit" text NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL
) /* time series: time */;

CREATE INDEX readings_member_id_time_idx ON readings ("member_id", "time");

CREATE TABLE scores (
    "member_id" text NOT NULL,
    "as_of" timestamptz NOT NULL,
    "score" double precision,
    "category" text NOT NULL CHECK ("category" IN ('Low', 'Moderate', 'High', 'Critical', 'Insufficient data')),
    "predicted_cost" double precision,
    "cost_lower_90" double precision,
    "cost_upper_90" double precision,
    "news2" smallint,
    "components" text[] NOT NULL,
    "risk_factors" text[] NOT NULL,
    "factor_dollars" double precision[] NOT NULL,
    "factor_values" double precision[] NOT NULL,
    "hccs" text[] NOT NULL,
    "interventions" text[] NOT NULL,
    "model_version" text NOT NULL,
    "partition" smallint NOT NULL,
    "seq" bigint NOT NULL,
    "scored_at" timestamptz DEFAULT now() NOT NULL
) /* time series: as_of */;

CREATE INDEX scores_member_id_seq_idx ON scores ("member_id", "seq");

CREATE TABLE partition_leases (
    "partition" smallint NOT NULL,
    "owner" text NOT NULL,
    "token" text NOT NULL,
    "expires_at" timestamptz NOT NULL,
    PRIMARY KEY ("partition")
);

CREATE TABLE partition_assignments (
    "partition" smallint NOT NULL,
    "shard" text NOT NULL,
    "since" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("partition")
);

CREATE TABLE shards (
    "shard" text NOT NULL,
    "state" text NOT NULL CHECK ("state" IN ('joining', 'active', 'drained', 'leaving')),
    "token" text,
    "entered_at" timestamptz,
    "seen_at" timestamptz,
    "held" smallint DEFAULT 0 NOT NULL,
    "members" bigint DEFAULT 0 NOT NULL,
    "behind" bigint DEFAULT 0 NOT NULL,
    PRIMARY KEY ("shard")
);

CREATE TABLE partition_offsets (
    "topic" text NOT NULL,
    "partition" smallint NOT NULL,
    "first_offset" bigint NOT NULL,
    "next_offset" bigint NOT NULL,
    "applied" bigint NOT NULL,
    "duplicates" bigint NOT NULL,
    "dead_letters" bigint NOT NULL,
    "gaps" bigint NOT NULL,
    "pending" bigint NOT NULL,
    "cluster_id" text NOT NULL,
    "topic_id" text NOT NULL,
    "updated_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("topic", "partition")
);

CREATE TABLE partition_commits (
    "partition" smallint NOT NULL,
    "seq" bigint NOT NULL,
    "offsets" jsonb NOT NULL,
    "expired_ms" bigint,
    PRIMARY KEY ("partition", "seq")
);

CREATE TABLE member_state (
    "partition" smallint NOT NULL,
    "seq" bigint NOT NULL,
    "offsets" jsonb NOT NULL,
    "watermark" timestamptz,
    "model_version" text NOT NULL,
    "members" bigint NOT NULL,
    "payload" bytea STORAGE EXTERNAL NOT NULL,
    "taken_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("partition")
);

CREATE TABLE dead_letters (
    "topic" text NOT NULL,
    "partition" smallint NOT NULL,
    "kafka_offset" bigint NOT NULL,
    "cluster_id" text NOT NULL,
    "reason" text NOT NULL,
    "field" text NOT NULL,
    "message" text NOT NULL,
    "payload" bytea STORAGE EXTERNAL NOT NULL,
    "payload_bytes" bigint NOT NULL,
    "recorded_at" timestamptz DEFAULT now() NOT NULL,
    "replayed_at" timestamptz DEFAULT NULL,
    PRIMARY KEY ("cluster_id", "topic", "partition", "kafka_offset")
);

CREATE TABLE outbox (
    "id" bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    "topic" text NOT NULL,
    "message_key" text NOT NULL,
    "payload" bytea STORAGE EXTERNAL NOT NULL,
    "created_at" timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY ("id")
);

CREATE TABLE simulation_runs (
    "run_id" text NOT NULL,
    "tenant_id" text DEFAULT 'default' NOT NULL,
    "kind" text NOT NULL,
    "spec" jsonb NOT NULL,
    "seed" bigint NOT NULL,
    "scenarios" bigint NOT NULL,
    "engine_version" text NOT NULL,
    "status" text NOT NULL CHECK ("status" IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    "batches" bigint DEFAULT 0 NOT NULL,
    "batches_done" bigint DEFAULT 0 NOT NULL,
    "error" text,
    "result" jsonb,
    "manifest" jsonb,
    "submitted_at" timestamptz DEFAULT clock_timestamp() NOT NULL,
    "started_at" timestamptz,
    "finished_at" timestamptz,
    PRIMARY KEY ("run_id")
);

CREATE INDEX simulation_runs_submitted_at_idx ON simulation_runs ("submitted_at");

CREATE TABLE simulation_results (
    "run_id" text NOT NULL,
    "measure" text NOT NULL,
    "level" double precision NOT NULL,
    "value" double precision NOT NULL,
    "standard_error" double precision NOT NULL,
    PRIMARY KEY ("run_id", "measure", "level")
);

CREATE TABLE premium_recommendations (
    "recommendation_id" text NOT NULL,
    "tenant_id" text DEFAULT 'default' NOT NULL,
    "cohort_id" text NOT NULL,
    "line_of_business" text NOT NULL CHECK ("line_of_business" IN ('individual', 'small_group', 'large_group', 'medicare_advantage', 'self_funded')),
    "effective_date" date NOT NULL,
    "base_premium" numeric(16,2) NOT NULL,
    "recommended_premium" numeric(16,2) NOT NULL,
    "factors" jsonb NOT NULL,
    "rate_review" boolean NOT NULL,
    "created_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("recommendation_id")
);

CREATE INDEX premium_recommendations_cohort_id_idx ON premium_recommendations ("cohort_id");

CREATE TABLE model_registry (
    "name" text NOT NULL,
    "version" text NOT NULL,
    "sha256" text NOT NULL,
    "card" jsonb NOT NULL,
    "stage" text NOT NULL CHECK ("stage" IN ('candidate', 'champion', 'retired')),
    "approver" text,
    "registered_at" timestamptz DEFAULT now() NOT NULL,
    "staged_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("name", "version")
);

CREATE TABLE model_promotions (
    "promotion" bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    "models" text NOT NULL,
    "approver" text NOT NULL,
    "reason" text NOT NULL,
    "decided_at" timestamptz DEFAULT now() NOT NULL,
    "applied_at" timestamptz,
    PRIMARY KEY ("promotion")
);

CREATE TABLE audit_events (
    "event_id" text NOT NULL,
    "occurred_at" timestamptz NOT NULL,
    "actor" text NOT NULL,
    "client" text NOT NULL,
    "tenant_id" text NOT NULL,
    "action" text NOT NULL,
    "resource" text NOT NULL,
    "member_id" text,
    "purpose" text NOT NULL,
    "outcome" text NOT NULL CHECK ("outcome" IN ('allowed', 'denied')),
    "request_id" text NOT NULL,
    "recorded_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("occurred_at", "event_id")
) /* time series: occurred_at */;

CREATE INDEX audit_events_member_id_occurred_at_idx ON audit_events ("member_id", "occurred_at");

CREATE INDEX audit_events_actor_occurred_at_idx ON audit_events ("actor", "occurred_at");

CREATE TABLE denied_tokens (
    "token_id" text NOT NULL,
    "reason" text NOT NULL,
    "expires_at" timestamptz NOT NULL,
    "denied_at" timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY ("token_id")
);

CREATE TABLE idempotency_keys (
    "tenant_id" text NOT NULL,
    "subject" text NOT NULL,
    "idempotency_key" text NOT NULL,
    "path" text NOT NULL,
    "request_digest" bytea STORAGE EXTERNAL NOT NULL,
    "status" smallint,
    "headers" jsonb,
    "body" bytea STORAGE EXTERNAL,
    "begun_at" timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY ("tenant_id", "subject", "idempotency_key")
);

CREATE INDEX idempotency_keys_begun_at_idx ON idempotency_keys ("begun_at");
