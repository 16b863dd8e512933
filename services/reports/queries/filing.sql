-- New reports, each with its reporter, its history, the answer to its request, its job and its events. Says which were filed: of those whose
-- reporter was erased, or sent as many as one may, nothing is written. Arguments: src/report/file/row.rs.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::float8[], $8::float8[],
        $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::integer[], $15::jsonb[], $16::timestamptz[], $17::timestamptz[],
        $18::bytea[], $19::bytea[], $20::bytea[],
        $21::uuid[], $22::text[], $23::text[], $24::uuid[], $25::text[], $26::bytea[], $27::bytea[],
        $28::uuid[], $29::text[], $30::text[], $31::bytea[], $32::smallint[], $33::jsonb[],
        $34::uuid[], $35::text[], $36::timestamptz[], $37::jsonb[], $38::text[], $39::boolean[]
    ) AS filing (id, category, lane, body, public_body, attributes, lon, lat,
        address, ward_code, agency_code, state, version, round, progress, due_at, now,
        body_sealed, address_sealed, answers_sealed,
        citizen, action, actor, officer, details, previous_hash, hash,
        caller, operation, key, fingerprint, status, answer,
        job, job_key, job_due_at, job_payload, job_trace, job_wakes)
), held AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, citizen, now, row_number() OVER (PARTITION BY citizen ORDER BY id) AS place FROM wanted
    ) AS filing
    WHERE citizen IS NULL
        OR reports.hold_person_key(citizen) AND reports.sent_since(citizen, now - interval '1 day', $49) + place <= $49
), filed AS (
    INSERT INTO reports.report (id, category, lane, body, public_body, attributes, lon, lat, address, ward_code, agency_code,
        state, version, round, co_agencies, progress, due_at, created_at, updated_at, body_sealed, address_sealed, answers_sealed, sealed)
    SELECT id, category, lane, body, public_body, attributes, lon, lat, address, ward_code, agency_code,
        state, version, round, '{}', progress, due_at, now, now, body_sealed, address_sealed, answers_sealed, TRUE
    FROM held JOIN wanted USING (id) RETURNING id
), sent AS (
    INSERT INTO reports.reporter (report_id, user_id)
    SELECT id, citizen FROM filed JOIN wanted USING (id) WHERE citizen IS NOT NULL RETURNING report_id
), entered AS (
    INSERT INTO reports.history (report_id, version, action, to_state, round, actor, officer_id, details, occurred_at, previous_hash, hash)
    SELECT id, version, action, state, round, actor, officer, details, now, previous_hash, hash FROM filed JOIN wanted USING (id)
    RETURNING report_id
)
SELECT array_agg(caller) AS "callers!", array_agg(key) AS "keys!",
    reports.answer_keys(array_agg(caller), array_agg(operation), array_agg(key), array_agg(fingerprint), array_agg(status),
        array_agg(answer), array_agg(now)),
    reports.replan_jobs($40, '{}', array_agg(job), array_agg(job_key), array_agg(job_due_at), array_agg(job_payload), array_agg(job_trace),
        array_agg(now), array_agg(job_wakes)),
    (SELECT reports.append_events(array_agg(stream ORDER BY place), array_agg(event.id ORDER BY place), array_agg(kind ORDER BY place),
         array_agg(subject ORDER BY place), array_agg(trace ORDER BY place), array_agg(data ORDER BY place),
         array_agg(occurred_at ORDER BY place))
     FROM unnest($41::uuid[], $42::timestamptz[], $43::text[], $44::uuid[], $45::text[], $46::uuid[], $47::text[], $48::bytea[])
         WITH ORDINALITY AS event (report, occurred_at, stream, id, kind, subject, trace, data, place)
     WHERE report IN (SELECT filed.id FROM filed))
FROM filed JOIN wanted USING (id), (SELECT count(*) FROM sent) AS sent, (SELECT count(*) FROM entered) AS entered
HAVING count(*) > 0
