-- Events arrive at a service through consumers. What was consumed is recorded in the transaction of its effect.
-- Times in these tables are machine time: they measure how long processes live and how long records stay, not the city's business.
CREATE TABLE {schema}.consumed_event (
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    consumed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT consumed_event_pk PRIMARY KEY (consumer, event_id)
);
COMMENT ON TABLE {schema}.consumed_event IS 'Events whose effect is committed, so that a second delivery has none. Kept longer than any outbox keeps its events.';
CREATE INDEX consumed_event_consumed_at_idx ON {schema}.consumed_event USING brin (consumed_at) WITH (pages_per_range = 32);

CREATE TABLE {schema}.dead_event (
    consumer    text        NOT NULL,
    event_id    uuid        NOT NULL,
    stream      text        NOT NULL,
    partition   smallint    NOT NULL,
    position    bigint      NOT NULL,
    source      text        NOT NULL,
    kind        text        NOT NULL,
    subject     uuid        NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    data        bytea       NOT NULL,
    reason      text        NOT NULL,
    attempts    integer     NOT NULL,
    died_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    redrive_at  timestamptz,
    CONSTRAINT dead_event_pk PRIMARY KEY (consumer, event_id),
    CONSTRAINT dead_event_partition_exists CHECK (partition BETWEEN 0 AND 15),
    CONSTRAINT dead_event_attempts_is_positive CHECK (attempts > 0)
);
COMMENT ON TABLE {schema}.dead_event IS 'Events that a consumer gave up on, with the reason. A redrive hands them to the same consumer again.';
CREATE INDEX dead_event_redrive_idx ON {schema}.dead_event (consumer, stream, position) WHERE redrive_at IS NOT NULL;
CREATE INDEX dead_event_died_at_idx ON {schema}.dead_event (died_at, event_id);

CREATE TABLE {schema}.event_member (
    consumer   text        NOT NULL,
    stream     text        NOT NULL,
    holder     text        NOT NULL,
    seen_until timestamptz NOT NULL,
    CONSTRAINT event_member_pk PRIMARY KEY (consumer, stream, holder)
) WITH (fillfactor = 50);
COMMENT ON TABLE {schema}.event_member IS 'Processes that consume a stream right now, so that they can share its partitions evenly.';

CREATE TABLE {schema}.event_lease (
    consumer    text        NOT NULL,
    stream      text        NOT NULL,
    partition   smallint    NOT NULL,
    holder      text        NOT NULL,
    fence       bigint      NOT NULL,
    lease_until timestamptz NOT NULL,
    CONSTRAINT event_lease_pk PRIMARY KEY (consumer, stream, partition),
    CONSTRAINT event_lease_partition_exists CHECK (partition BETWEEN 0 AND 15),
    CONSTRAINT event_lease_fence_is_not_negative CHECK (fence >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE {schema}.event_lease IS 'Who consumes a partition. The fence grows with each holder and is checked, under the row''s lock, in every effect.';

GRANT SELECT, INSERT, DELETE ON {schema}.consumed_event TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.dead_event TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.event_member TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE ON {schema}.event_lease TO trangtien_{schema};
