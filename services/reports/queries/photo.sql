-- Stored photos of different reports, each with the answer to its request: if the report stands as it was looked at, has room, and the file
-- was not taken away. Says of which reports. Arguments: src/photo/row.rs.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[], $8::text[],
        $9::integer[], $10::integer[], $11::integer[], $12::bytea[], $13::timestamptz[],
        $14::uuid[], $15::text[], $16::text[], $17::bytea[], $18::smallint[], $19::jsonb[]
    ) AS photo (report, version, id, ticket, kind, round, most, agency,
        bytes, width, height, sha256, now,
        caller, operation, key, fingerprint, status, answer)
), locked AS MATERIALIZED (
    SELECT wanted.id, wanted.ticket FROM wanted JOIN reports.report ON report.id = wanted.report AND report.version = wanted.version
    WHERE report.erased_at IS NULL OR wanted.kind <> 'report'
    FOR NO KEY UPDATE OF report
), arrived AS MATERIALIZED (
    SELECT locked.id FROM locked JOIN reports.arrival ON arrival.photo_id = locked.id AND arrival.ticket = locked.ticket
    FOR SHARE OF arrival
), added AS (
    INSERT INTO reports.attachment (id, report_id, kind, round, agency, media_type, bytes, width, height, sha256, created_at)
    SELECT id, report, kind, round, agency, $20, bytes, width, height, sha256, now
    FROM (
        -- OFFSET 0: counted once the report is held.
        SELECT wanted.id, report, kind, round, most, agency, bytes, width, height, sha256, now FROM arrived JOIN wanted USING (id) OFFSET 0
    ) AS photo
    WHERE reports.has_room(report, kind, round, most)
    ON CONFLICT ON CONSTRAINT attachment_pk DO NOTHING RETURNING id
)
SELECT array_agg(report) AS "reports!",
    reports.answer_keys(array_agg(caller), array_agg(operation), array_agg(key), array_agg(fingerprint), array_agg(status),
        array_agg(answer), array_agg(now))
FROM added JOIN wanted USING (id)
HAVING count(*) > 0
