-- Events leave a service through its outbox: they are written in the transaction that causes them, and a relay moves them to Redis Streams.
-- Positions are assigned under the lock of outbox_head, so that the order of positions is the order of commits.
GRANT USAGE ON SCHEMA {schema} TO trangtien_{schema};

CREATE TABLE {schema}.outbox_head (
    id       smallint NOT NULL DEFAULT 1,
    position bigint   NOT NULL,
    CONSTRAINT outbox_head_pk PRIMARY KEY (id),
    CONSTRAINT outbox_head_is_single CHECK (id = 1),
    CONSTRAINT outbox_head_position_is_not_negative CHECK (position >= 0)
) WITH (fillfactor = 10);
COMMENT ON TABLE {schema}.outbox_head IS 'One row: the last position given to an event. Its lock orders the commits that append.';
INSERT INTO {schema}.outbox_head (id, position) VALUES (1, 0);

CREATE TABLE {schema}.outbox (
    position    bigint      NOT NULL,
    stream      text        NOT NULL,
    event_id    uuid        NOT NULL,
    kind        text        NOT NULL,
    subject     uuid        NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    data        bytea       NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT outbox_pk PRIMARY KEY (stream, position),
    CONSTRAINT outbox_event_id_is_unique UNIQUE (event_id),
    CONSTRAINT outbox_position_is_positive CHECK (position > 0),
    CONSTRAINT outbox_data_is_small CHECK (octet_length(data) <= 65536)
);
COMMENT ON TABLE {schema}.outbox IS 'Events by stream and position. Rows stay 7 days, so that Redis can be filled again. recorded_at is machine time, for retention only.';

CREATE TABLE {schema}.outbox_cursor (
    stream     text     NOT NULL,
    generation uuid     NOT NULL,
    position   bigint   NOT NULL,
    added      bigint[] NOT NULL,
    CONSTRAINT outbox_cursor_pk PRIMARY KEY (stream),
    CONSTRAINT outbox_cursor_position_is_not_negative CHECK (position >= 0),
    CONSTRAINT outbox_cursor_added_is_per_partition CHECK (cardinality(added) = 16)
) WITH (fillfactor = 10);
COMMENT ON TABLE {schema}.outbox_cursor IS 'How far the relay came: everything up to position is in Redis; added holds the last position put into each partition; generation names the history that Redis holds.';

CREATE TABLE {schema}.outbox_reader (
    stream       text     NOT NULL,
    reader       text     NOT NULL,
    acknowledged bigint[] NOT NULL,
    CONSTRAINT outbox_reader_pk PRIMARY KEY (stream, reader),
    CONSTRAINT outbox_reader_acknowledged_is_per_partition CHECK (cardinality(acknowledged) = 16)
) WITH (fillfactor = 50);
COMMENT ON TABLE {schema}.outbox_reader IS 'Consumer groups of a stream and the position up to which each has acknowledged each partition, as last seen by the relay.';

GRANT SELECT, UPDATE ON {schema}.outbox_head TO trangtien_{schema};
GRANT SELECT, INSERT, DELETE ON {schema}.outbox TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE ON {schema}.outbox_cursor TO trangtien_{schema};
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.outbox_reader TO trangtien_{schema};
