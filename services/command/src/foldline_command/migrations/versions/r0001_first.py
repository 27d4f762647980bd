"""The first schema: aggregates, outbox by day, slice map, idempotency keys, keeper, publication."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE orders (id text PRIMARY KEY, version bigint NOT NULL, state jsonb NOT NULL);
CREATE TABLE customers (id text PRIMARY KEY, version bigint NOT NULL, state jsonb NOT NULL);

CREATE TABLE outbox (
    id uuid NOT NULL,
    recorded_at timestamp NOT NULL DEFAULT (clock_timestamp() AT TIME ZONE 'UTC'),
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    version bigint NOT NULL,
    partition integer NOT NULL,
    contenttype text NOT NULL DEFAULT 'application/cloudevents+json',
    payload text NOT NULL,
    PRIMARY KEY (id, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX outbox_recorded_at ON outbox (recorded_at);
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;
COMMENT ON COLUMN outbox.recorded_at IS 'UTC; without a zone, because Debezium gives only such a column as a number, which becomes the record''s timestamp.';
COMMENT ON TABLE outbox IS 'Insert-only. Days are made ahead by the outbox keeper.';

CREATE TABLE topics (
    name text PRIMARY KEY,
    partitions integer NOT NULL CHECK (partitions > 0),
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE slice_map (
    topic text NOT NULL REFERENCES topics (name),
    slice integer NOT NULL CHECK (slice BETWEEN 0 AND 255),
    partition integer NOT NULL CHECK (partition >= 0),
    version bigint NOT NULL,
    PRIMARY KEY (topic, slice)
);

CREATE TABLE idempotency_keys (
    key text PRIMARY KEY,
    fingerprint text NOT NULL,
    answer jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);

CREATE TABLE keeper (
    id integer PRIMARY KEY CHECK (id = 1),
    incarnation bigint NOT NULL,
    identity jsonb,
    as_of timestamptz,
    published_at timestamptz
);
INSERT INTO keeper (id, incarnation) VALUES (1, 1);

CREATE PUBLICATION foldline_outbox FOR TABLE outbox
    WITH (publish = 'insert', publish_via_partition_root = true);
"""


def upgrade() -> None:
    """Make it all."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
