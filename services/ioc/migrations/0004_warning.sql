-- Warnings as their events tell them: which are in force, which ended how, and how many they reached by ward.
--
-- Counted under the lock of ioc.board, as everything else. No person: a warning is an opaque id, its reach are counts.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ioc.warning (
    alert_id    uuid        NOT NULL,
    identifier  text        NOT NULL,
    category    text        NOT NULL,
    severity    text        NOT NULL,
    headline_vi text        NOT NULL,
    headline_en text        NOT NULL,
    wards       text[]      NOT NULL,
    released_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    exercise    boolean     NOT NULL,
    revision    bigint      NOT NULL,
    CONSTRAINT warning_pk PRIMARY KEY (alert_id)
);
COMMENT ON TABLE ioc.warning IS 'Warnings that were released. Expiry is a matter of time; other ends are in warning_end.';
CREATE INDEX warning_expires_at_idx ON ioc.warning (expires_at);

CREATE TABLE ioc.warning_end (
    alert_id uuid        NOT NULL,
    how      text        NOT NULL,
    ended_at timestamptz NOT NULL,
    revision bigint      NOT NULL,
    CONSTRAINT warning_end_pk PRIMARY KEY (alert_id),
    CONSTRAINT warning_end_how_ck CHECK (how IN ('updated', 'cancelled'))
);
COMMENT ON TABLE ioc.warning_end IS 'Warnings that ended before their time. A table of its own, because the end may be told before the beginning.';

CREATE TABLE ioc.warning_reach (
    alert_id   uuid    NOT NULL,
    ward       text    NOT NULL,
    recipients bigint  NOT NULL,
    reached    bigint  NOT NULL,
    complete   boolean NOT NULL,
    revision   bigint  NOT NULL,
    CONSTRAINT warning_reach_pk PRIMARY KEY (alert_id, ward),
    CONSTRAINT warning_reach_count_ck CHECK (recipients >= 0 AND reached BETWEEN 0 AND recipients)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.warning_reach IS 'How many have a warning, as it was told last: by ward, and under the empty ward in all, each citizen once.';

GRANT SELECT, INSERT, UPDATE ON ioc.warning, ioc.warning_end, ioc.warning_reach TO trangtien_ioc;
