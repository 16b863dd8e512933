-- Timers, retries, escalations and sagas: work that is due at some time, claimed by one runner at a time.
-- due_at, created_at and finished_at are the city's time (a parameter); lease_until is machine time, because it measures whether a process lives.
CREATE TABLE {schema}.job (
    id          uuid        NOT NULL,
    kind        text        NOT NULL,
    key         text        NOT NULL,
    state       text        NOT NULL,
    due_at      timestamptz NOT NULL,
    payload     jsonb       NOT NULL,
    traceparent text,
    attempts    integer     NOT NULL DEFAULT 0,
    failures    integer     NOT NULL DEFAULT 0,
    fence       bigint      NOT NULL DEFAULT 0,
    holder      text,
    lease_until timestamptz,
    reason      text,
    created_at  timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT job_pk PRIMARY KEY (id),
    CONSTRAINT job_kind_and_key_are_unique UNIQUE (kind, key),
    CONSTRAINT job_state_is_known CHECK (state IN ('due', 'running', 'done', 'dead')),
    CONSTRAINT job_running_has_a_lease CHECK ((state = 'running') = (lease_until IS NOT NULL AND holder IS NOT NULL)),
    CONSTRAINT job_terminal_has_a_time CHECK ((state IN ('done', 'dead')) = (finished_at IS NOT NULL)),
    CONSTRAINT job_dead_has_a_reason CHECK (state <> 'dead' OR reason IS NOT NULL),
    CONSTRAINT job_counts_are_not_negative CHECK (attempts >= 0 AND failures >= 0 AND fence >= 0)
) WITH (fillfactor = 80);
COMMENT ON TABLE {schema}.job IS 'Work that is due. One runner at a time holds a job by lease; the fence grows with each claim, so that a stale runner can finish nothing.';
CREATE INDEX job_due_idx ON {schema}.job (kind, due_at) WHERE state = 'due';
CREATE INDEX job_lease_idx ON {schema}.job (lease_until) WHERE state = 'running';
CREATE INDEX job_finished_idx ON {schema}.job (finished_at, id) WHERE state IN ('done', 'dead');

GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.job TO trangtien_{schema};
