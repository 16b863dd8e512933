-- What a service writes in one statement with its own rows: events, a planned job, the answer to a key.
--
-- Each function runs its statements with snapshots of their own and with plans that the session keeps.

-- Appending wakes relays only when they sleep: whoever moves the head on from asleep_at tells them, and nobody after.
ALTER TABLE {schema}.outbox_head ADD COLUMN asleep_at bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN {schema}.outbox_head.asleep_at IS 'The head at which a relay last went to sleep: the transaction that moves the head on from there wakes all relays.';

-- Whoever appends waits at the gate, in a queue, and not for the head's row: many who wait for one row wake each other for nothing.
CREATE FUNCTION {schema}.append_event(
    p_stream text[], p_event_id uuid[], p_kind text[], p_subject uuid[], p_traceparent text[], p_data bytea[], p_occurred_at timestamptz
) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_count     bigint := cardinality(p_event_id);
    v_last      bigint;
    v_asleep_at bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.outbox_head', 0));
    UPDATE {schema}.outbox_head SET position = position + v_count RETURNING position, asleep_at INTO STRICT v_last, v_asleep_at;
    INSERT INTO {schema}.outbox (position, stream, event_id, kind, subject, occurred_at, traceparent, data)
    SELECT v_last - v_count + event.ordinal, event.stream, event.event_id, event.kind, event.subject, p_occurred_at, event.traceparent, event.data
    FROM unnest(p_stream, p_event_id, p_kind, p_subject, p_traceparent, p_data)
        WITH ORDINALITY AS event (stream, event_id, kind, subject, traceparent, data, ordinal);
    IF v_asleep_at = v_last - v_count THEN
        PERFORM pg_notify('{schema}_outbox', '');
    END IF;
    RETURN v_last;
END;
$$;
COMMENT ON FUNCTION {schema}.append_event IS 'Appends events in the order given; the last thing that a transaction does. Gives the last position.';

-- A relay that has read everything asks to be woken. False when somebody appends just now: then there is something to read soon.
CREATE FUNCTION {schema}.rest_relay() RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('{schema}.outbox_head', 0)) THEN
        RETURN false;
    END IF;
    UPDATE {schema}.outbox_head SET asleep_at = position WHERE asleep_at <> position;
    RETURN true;
END;
$$;
COMMENT ON FUNCTION {schema}.rest_relay IS 'Asks to be woken by the next event. Whoever asked reads once more before it sleeps.';

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
