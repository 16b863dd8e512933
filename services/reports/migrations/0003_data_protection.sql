-- What a reporter wrote, in their own words, is sealed under their key; what everyone reads is public_body, as before.
-- Rows from before are sealed by a task, beside everything else. What an operator writes down for a caller belongs to no account and stays plain.
SET LOCAL lock_timeout = '5s';

ALTER TABLE reports.report
    ALTER COLUMN body DROP NOT NULL,
    ADD COLUMN body_sealed bytea;
COMMENT ON COLUMN reports.report.body IS 'The text as an operator wrote it down for a caller; of a reporter only in rows from before body_sealed, until they are sealed.';
COMMENT ON COLUMN reports.report.body_sealed IS 'The reporter''s own words, sealed under their key. Without the key public_body is all there is.';
CREATE INDEX report_unsealed_ix ON reports.report (id) WHERE body IS NOT NULL AND body_sealed IS NULL;
GRANT UPDATE (body, body_sealed) ON reports.report TO trangtien_reports;
