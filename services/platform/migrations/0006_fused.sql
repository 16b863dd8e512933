-- What a service writes in one statement with its own rows: events, a planned job, the answer to a key.
--
-- Each function runs its statements with snapshots of their own and with plans that the session keeps.

-- Events are written without a position; the relay gives it to those that are committed, before it reads them. So nobody who writes
-- waits for another's commit. arrival keeps the order of what one transaction wrote, and of transactions that saw each other.
ALTER TABLE {schema}.outbox DROP CONSTRAINT outbox_pk;
ALTER TABLE {schema}.outbox
    ALTER COLUMN position DROP NOT NULL,
    ADD COLUMN arrival bigint,
    ADD CONSTRAINT outbox_position_is_unique UNIQUE (stream, position);
CREATE SEQUENCE {schema}.outbox_arrival AS bigint;
CREATE INDEX outbox_unnumbered_idx ON {schema}.outbox (arrival) WHERE position IS NULL;
GRANT UPDATE (position) ON {schema}.outbox TO trangtien_{schema};
GRANT USAGE ON SEQUENCE {schema}.outbox_arrival TO trangtien_{schema};
COMMENT ON COLUMN {schema}.outbox.position IS 'The order in which relays read, over all streams without gaps; absent until a relay gave it.';
COMMENT ON COLUMN {schema}.outbox.arrival IS 'The order in which events were written, committed or not; absent in rows from before there was one.';
COMMENT ON TABLE {schema}.outbox_head IS 'One row: the last position given to an event. Its lock orders those who give positions.';

-- Who appends tells relays only when they sleep.
ALTER TABLE {schema}.outbox_cursor ADD COLUMN asleep boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN {schema}.outbox_cursor.asleep IS 'Whether the stream''s relay sleeps, so that whoever appends must wake it.';

-- The lock is shared among those who append; it only tells a relay that somebody is at it.
CREATE FUNCTION {schema}.append_event(
    p_stream text[], p_event_id uuid[], p_kind text[], p_subject uuid[], p_traceparent text[], p_data bytea[], p_occurred_at timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('{schema}.outbox_head', 0));
    INSERT INTO {schema}.outbox (arrival, stream, event_id, kind, subject, occurred_at, traceparent, data)
    SELECT nextval('{schema}.outbox_arrival'), event.stream, event.event_id, event.kind, event.subject, p_occurred_at, event.traceparent, event.data
    FROM unnest(p_stream, p_event_id, p_kind, p_subject, p_traceparent, p_data)
        AS event (stream, event_id, kind, subject, traceparent, data);
    IF EXISTS (SELECT 1 FROM {schema}.outbox_cursor WHERE asleep AND stream = ANY (p_stream)) THEN
        PERFORM pg_notify('{schema}_outbox', '');
    END IF;
END;
$$;
COMMENT ON FUNCTION {schema}.append_event IS 'Appends events in the order given; after the locks that order what they tell of.';

-- Whoever is visible gets the next positions; whoever is not yet gets later ones. Events of one subject are written one transaction after
-- the other, so that a later one is never visible without an earlier one.
CREATE FUNCTION {schema}.number_event(p_limit bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_last bigint;
    v_ids  uuid[];
BEGIN
    -- Without a lock while there is nothing to do.
    PERFORM 1 FROM {schema}.outbox WHERE position IS NULL ORDER BY arrival LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT position INTO STRICT v_last FROM {schema}.outbox_head FOR UPDATE;
    v_ids := ARRAY(SELECT event_id FROM {schema}.outbox WHERE position IS NULL ORDER BY arrival LIMIT p_limit);
    UPDATE {schema}.outbox SET position = v_last + arrived.ordinal
    FROM unnest(v_ids) WITH ORDINALITY AS arrived (event_id, ordinal) WHERE outbox.event_id = arrived.event_id;
    UPDATE {schema}.outbox_head SET position = v_last + cardinality(v_ids) WHERE v_ids <> '{}';
    RETURN cardinality(v_ids);
END;
$$;
COMMENT ON FUNCTION {schema}.number_event IS 'Gives positions to committed events that have none, in the order of their arrival; says to how many.';

-- A relay that has read everything asks to be woken. False while somebody appends: they may not have seen the request.
CREATE FUNCTION {schema}.rest_relay(p_stream text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('{schema}.outbox_head', 0)) THEN
        RETURN false;
    END IF;
    UPDATE {schema}.outbox_cursor SET asleep = true WHERE stream = p_stream AND NOT asleep;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION {schema}.rest_relay IS 'Asks to be woken by the next event of a stream. Whoever asked reads once more before it sleeps.';

CREATE FUNCTION {schema}.replan_job(
    p_kind text, p_key_before text, p_id uuid, p_key text, p_due_at timestamptz, p_payload jsonb, p_traceparent text, p_now timestamptz, p_wakes boolean
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_key_before IS NOT NULL THEN
        DELETE FROM {schema}.job WHERE kind = p_kind AND key = p_key_before AND state = 'due';
    END IF;
    IF p_key IS NOT NULL THEN
        INSERT INTO {schema}.job (id, kind, key, state, due_at, payload, traceparent, created_at)
        VALUES (p_id, p_kind, p_key, 'due', p_due_at, p_payload, p_traceparent, p_now)
        ON CONFLICT ON CONSTRAINT job_kind_and_key_are_unique DO NOTHING;
        IF FOUND AND p_wakes THEN
            PERFORM pg_notify('{schema}_job', '');
        END IF;
    END IF;
END;
$$;
COMMENT ON FUNCTION {schema}.replan_job IS 'Takes back the job of a kind under one key, unless it has begun, and schedules one under another; either key may be absent.';

CREATE FUNCTION {schema}.key_answer(p_caller uuid, p_operation text, p_key text)
RETURNS TABLE (fingerprint bytea, status smallint, body jsonb)
LANGUAGE sql STABLE AS $$
    SELECT known.fingerprint, known.status, known.body FROM {schema}.idempotency_key AS known
    WHERE known.caller = p_caller AND known.operation = p_operation AND known.key = p_key
$$;
COMMENT ON FUNCTION {schema}.key_answer IS 'What was answered to a key.';

-- Fails with idempotency_key_pk, and with it all that the statement wrote, when the key was answered meanwhile.
CREATE FUNCTION {schema}.answer_key(
    p_caller uuid, p_operation text, p_key text, p_fingerprint bytea, p_status smallint, p_body jsonb, p_now timestamptz
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_key IS NOT NULL THEN
        INSERT INTO {schema}.idempotency_key (caller, operation, key, fingerprint, status, body, claimed_at)
        VALUES (p_caller, p_operation, p_key, p_fingerprint, p_status, p_body, p_now);
    END IF;
END;
$$;
COMMENT ON FUNCTION {schema}.answer_key IS 'Claims a key, if there is one, and keeps its answer, in the statement of the work.';

CREATE FUNCTION {schema}.hold_person_key(p_person uuid) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM {schema}.person_key WHERE person = p_person AND key IS NOT NULL FOR SHARE;
    RETURN FOUND;
END;
$$;
COMMENT ON FUNCTION {schema}.hold_person_key IS 'Whether a person has a key that was not destroyed; nobody destroys it before the transaction ends.';
