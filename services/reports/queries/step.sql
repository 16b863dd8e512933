-- Steps of different reports, each written from the version that was decided on, with its history, what is kept beside the report, the answer
-- to its request, its job and its events. Says which reports moved; of the others nothing is written. Arguments: src/report/step/row.rs.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::integer[], $4::text[], $5::bigint[], $6::integer[], $7::text[],
        $8::jsonb[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::uuid[], $13::boolean[], $14::text[],
        $15::boolean[], $16::text[], $17::boolean[], $18::boolean[], $19::text[], $20::bytea[],
        $21::text[], $22::text[], $23::text[], $24::text[], $25::uuid[], $26::text[], $27::bytea[], $28::bytea[], $29::bytea[],
        $30::uuid[], $31::boolean[],
        $32::uuid[], $33::text[], $34::text[], $35::bytea[], $36::smallint[], $37::jsonb[],
        $38::text[], $39::uuid[], $40::text[], $41::timestamptz[], $42::jsonb[], $43::text[], $44::boolean[]
    ) AS step (report, version_before, round_before, state, version, round, lead_agency,
        progress, due_at, first_due_at, now, merged_into, publishes, public_text,
        changes_result, result, kept_first, kept_extended, rating, comment_sealed,
        action, from_state, actor, agency, officer, details, details_sealed, previous_hash, hash,
        citizen, has_reporter,
        caller, operation, key, fingerprint, status, answer,
        taken_back, job, job_key, job_due_at, job_payload, job_trace, job_wakes)
), target AS MATERIALIZED (
    -- Both in one order, so that two that are merged into each other at once don't wait for each other.
    SELECT merged.id, merged.state FROM wanted CROSS JOIN LATERAL (
        SELECT id, state FROM reports.report WHERE wanted.merged_into IS NOT NULL AND id = ANY (ARRAY[wanted.report, wanted.merged_into])
        ORDER BY id FOR NO KEY UPDATE
    ) AS merged
), moved AS (
    UPDATE reports.report SET state = wanted.state, version = wanted.version, round = wanted.round,
        lead_agency = wanted.lead_agency, progress = wanted.progress,
        co_agencies = ARRAY(SELECT jsonb_array_elements_text(wanted.progress -> 'co')),
        due_at = wanted.due_at, first_due_at = wanted.first_due_at, updated_at = wanted.now, merged_into = wanted.merged_into,
        public_since = CASE WHEN wanted.publishes THEN coalesce(report.public_since, wanted.now) ELSE report.public_since END,
        public_body = CASE WHEN report.erased_at IS NULL THEN coalesce(wanted.public_text, report.public_body)
                      ELSE report.public_body END,
        result = CASE WHEN wanted.changes_result THEN wanted.result ELSE report.result END
    FROM wanted
    WHERE report.id = wanted.report AND report.version = wanted.version_before
        AND (report.erased_at IS NULL OR NOT wanted.has_reporter)
        AND (wanted.merged_into IS NULL OR wanted.merged_into <> wanted.report
            AND EXISTS (SELECT FROM target WHERE target.id = wanted.merged_into AND target.state <> 'duplicate'))
        AND (wanted.citizen IS NULL OR reports.hold_person_key(wanted.citizen))
    RETURNING report.id, report.category
), entered AS (
    INSERT INTO reports.history (report_id, version, action, from_state, to_state, round, actor, agency, officer_id, details,
        occurred_at, previous_hash, hash, details_sealed)
    SELECT report, version, action, from_state, state, round, actor, agency, officer, details, now, previous_hash, hash, details_sealed
    FROM moved JOIN wanted ON wanted.report = moved.id RETURNING report_id
), published AS (
    INSERT INTO reports.outcome (report_id, round, category, agency, kept_first, kept_extended, published_at)
    SELECT report, round, category, coalesce(lead_agency, ''), kept_first, kept_extended, now
    FROM moved JOIN wanted ON wanted.report = moved.id WHERE kept_first IS NOT NULL
    RETURNING report_id
), rated AS (
    INSERT INTO reports.rating (report_id, round, rating, comment_sealed, rated_at)
    SELECT report, round_before, rating, comment_sealed, now FROM moved JOIN wanted ON wanted.report = moved.id WHERE rating IS NOT NULL
    RETURNING report_id
)
SELECT array_agg(report) AS "moved!",
    reports.answer_keys(array_agg(caller), array_agg(operation), array_agg(key), array_agg(fingerprint), array_agg(status),
        array_agg(answer), array_agg(now)),
    reports.replan_jobs($45, array_agg(taken_back), array_agg(job), array_agg(job_key), array_agg(job_due_at),
        array_agg(job_payload), array_agg(job_trace), array_agg(now), array_agg(job_wakes)),
    (SELECT reports.append_events(array_agg(stream ORDER BY place), array_agg(id ORDER BY place), array_agg(kind ORDER BY place),
         array_agg(subject ORDER BY place), array_agg(trace ORDER BY place), array_agg(data ORDER BY place),
         array_agg(occurred_at ORDER BY place))
     FROM unnest($46::uuid[], $47::timestamptz[], $48::text[], $49::uuid[], $50::text[], $51::uuid[], $52::text[], $53::bytea[])
         WITH ORDINALITY AS event (report, occurred_at, stream, id, kind, subject, trace, data, place)
     WHERE report IN (SELECT moved.id FROM moved))
FROM moved JOIN wanted ON wanted.report = moved.id, (SELECT count(*) FROM entered) AS entered, (SELECT count(*) FROM published) AS published,
    (SELECT count(*) FROM rated) AS rated
HAVING count(*) > 0
