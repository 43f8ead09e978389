CREATE TABLE readings_daily (
    "day" timestamptz NOT NULL,
    "member_id" text NOT NULL,
    "metric" text NOT NULL,
    "readings" bigint NOT NULL,
    "total" double precision NOT NULL,
    "lowest" double precision NOT NULL,
    "highest" double precision NOT NULL,
    PRIMARY KEY ("member_id", "metric", "day")
) /* time series: day */;

CREATE TABLE rollups_due (
    "series" text NOT NULL,
    "day" timestamptz NOT NULL
);
