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
