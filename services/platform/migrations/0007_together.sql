-- What several requests write in one statement: the functions of 0006 for many at once, so that each table is written by one statement.
--
-- Arrays of one call have one length; the n-th entries belong together.

-- The lock is shared among those who append; it only tells a relay that somebody is at it.
CREATE FUNCTION {schema}.append_events(
    p_stream text[], p_event_id uuid[], p_kind text[], p_subject uuid[], p_traceparent text[], p_data bytea[], p_occurred_at timestamptz[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('{schema}.outbox_head', 0));
    INSERT INTO {schema}.outbox (arrival, stream, event_id, kind, subject, occurred_at, traceparent, data)
    SELECT nextval('{schema}.outbox_arrival'), event.stream, event.event_id, event.kind, event.subject, event.occurred_at,
        event.traceparent, event.data
    FROM unnest(p_stream, p_event_id, p_kind, p_subject, p_traceparent, p_data, p_occurred_at)
        AS event (stream, event_id, kind, subject, traceparent, data, occurred_at);
    IF EXISTS (SELECT 1 FROM {schema}.outbox_cursor WHERE asleep AND stream = ANY (p_stream)) THEN
        PERFORM pg_notify('{schema}_outbox', '');
    END IF;
END;
$$;
COMMENT ON FUNCTION {schema}.append_events IS 'Appends events in the order given; after the locks that order what they tell of.';
COMMENT ON FUNCTION {schema}.append_event IS 'Called by processes from before append_events.';

CREATE FUNCTION {schema}.replan_jobs(
    p_kind text, p_key_before text[], p_id uuid[], p_key text[], p_due_at timestamptz[], p_payload jsonb[], p_traceparent text[],
    p_created_at timestamptz[], p_wakes boolean[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_wakes boolean;
BEGIN
    DELETE FROM {schema}.job WHERE kind = p_kind AND key = ANY (p_key_before) AND state = 'due';
    WITH planned AS (
        SELECT job.id, job.key, job.due_at, job.payload, job.traceparent, job.created_at, job.wakes
        FROM unnest(p_id, p_key, p_due_at, p_payload, p_traceparent, p_created_at, p_wakes)
            AS job (id, key, due_at, payload, traceparent, created_at, wakes)
        WHERE job.key IS NOT NULL
    ), added AS (
        INSERT INTO {schema}.job (id, kind, key, state, due_at, payload, traceparent, created_at)
        SELECT id, p_kind, key, 'due', due_at, payload, traceparent, created_at FROM planned
        ON CONFLICT ON CONSTRAINT job_kind_and_key_are_unique DO NOTHING
        RETURNING id
    )
    SELECT bool_or(planned.wakes) INTO v_wakes FROM added JOIN planned ON planned.id = added.id;
    IF v_wakes THEN
        PERFORM pg_notify('{schema}_job', '');
    END IF;
END;
$$;
COMMENT ON FUNCTION {schema}.replan_jobs IS 'Takes back jobs of a kind, unless they have begun, and schedules others; either key of an entry may be absent.';
COMMENT ON FUNCTION {schema}.replan_job IS 'Called by processes from before replan_jobs.';

-- Fails with idempotency_key_pk, and with it all that the statement wrote, when one of the keys was answered meanwhile.
CREATE FUNCTION {schema}.answer_keys(
    p_caller uuid[], p_operation text[], p_key text[], p_fingerprint bytea[], p_status smallint[], p_body jsonb[], p_claimed_at timestamptz[]
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {schema}.idempotency_key (caller, operation, key, fingerprint, status, body, claimed_at)
    SELECT answer.caller, answer.operation, answer.key, answer.fingerprint, answer.status, answer.body, answer.claimed_at
    FROM unnest(p_caller, p_operation, p_key, p_fingerprint, p_status, p_body, p_claimed_at)
        AS answer (caller, operation, key, fingerprint, status, body, claimed_at)
    WHERE answer.key IS NOT NULL;
END;
$$;
COMMENT ON FUNCTION {schema}.answer_keys IS 'Claims keys, where there are any, and keeps their answers, in the statement of the work.';
