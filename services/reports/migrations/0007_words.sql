-- Everything that a reporter wrote is sealed under their key: the address, texts of the form, comments of ratings, and what they said in
-- the history. Rows from before, and those that a process of an earlier version still writes, are sealed by a task beside everything
-- else. What an operator writes down for a caller belongs to no account and stays plain.
--
-- A process of an earlier version reads a sealed row of the history as empty, and says meanwhile that its chain does not hold.
SET LOCAL lock_timeout = '5s';

ALTER TABLE reports.report
    ADD COLUMN address_sealed bytea,
    ADD COLUMN answers_sealed bytea,
    ADD COLUMN sealed boolean NOT NULL DEFAULT FALSE,
    DROP CONSTRAINT report_place_ck,
    ADD CONSTRAINT report_place_ck
        CHECK (lon IS NOT NULL OR address IS NOT NULL OR address_sealed IS NOT NULL OR erased_at IS NOT NULL),
    DROP CONSTRAINT report_erased_ck,
    ADD CONSTRAINT report_erased_ck CHECK (erased_at IS NULL
        OR (body IS NULL AND body_sealed IS NULL AND address IS NULL AND address_sealed IS NULL AND answers_sealed IS NULL)),
    ADD CONSTRAINT report_address_once_ck CHECK (address IS NULL OR address_sealed IS NULL);
COMMENT ON COLUMN reports.report.address IS 'The place in words as an operator wrote it down for a caller; of a reporter only until sealed.';
COMMENT ON COLUMN reports.report.address_sealed IS 'The place in the reporter''s words, sealed under their key.';
COMMENT ON COLUMN reports.report.attributes IS 'Answers to the form of the category; of a reporter those that are no texts: numbers, choices, flags.';
COMMENT ON COLUMN reports.report.answers_sealed IS 'The reporter''s texts in the form, as JSON, sealed under their key.';
COMMENT ON COLUMN reports.report.sealed IS 'Whether nothing of a reporter stands plain in the row that is to be sealed; FALSE in rows from before, until the task has seen them.';
DROP INDEX reports.report_unsealed_ix;
CREATE INDEX report_unsealed_ix ON reports.report (id) WHERE NOT sealed;
GRANT UPDATE (address_sealed, answers_sealed, sealed) ON reports.report TO trangtien_reports;

ALTER TABLE reports.history
    ADD COLUMN details_sealed bytea,
    ADD CONSTRAINT history_sealed_ck CHECK (details_sealed IS NULL OR (actor = 'citizen' AND details = '{}' AND erased_at IS NULL));
COMMENT ON COLUMN reports.history.details_sealed IS 'What a citizen said, sealed under their key, in place of details. The hash covers the plain details.';
CREATE INDEX history_unsealed_ix ON reports.history (report_id, version) WHERE actor = 'citizen' AND details <> '{}';
GRANT UPDATE (details_sealed) ON reports.history TO trangtien_reports;

ALTER TABLE reports.rating
    ADD COLUMN comment_sealed bytea,
    ADD CONSTRAINT rating_sealed_ck CHECK (comment IS NULL OR comment_sealed IS NULL);
COMMENT ON COLUMN reports.rating.comment_sealed IS 'The reporter''s comment, sealed under their key, in place of comment.';
CREATE INDEX rating_unsealed_ix ON reports.rating (report_id, round) WHERE comment IS NOT NULL;
GRANT UPDATE (comment_sealed) ON reports.rating TO trangtien_reports;

-- Words are sealed once, or removed; everything else of the row, its hash above all, stays.
CREATE FUNCTION reports.only_seal_or_erase_details() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words CONSTANT text[] := ARRAY['details', 'details_sealed', 'erased_at'];
    seals CONSTANT boolean := OLD.details_sealed IS NULL AND OLD.details <> '{}' AND NEW.details_sealed IS NOT NULL AND NEW.erased_at IS NULL;
    erases CONSTANT boolean := NEW.details_sealed IS NULL AND NEW.erased_at IS NOT NULL;
BEGIN
    IF OLD.actor = 'citizen' AND OLD.erased_at IS NULL AND NEW.details = '{}' AND (seals OR erases)
        AND to_jsonb(NEW) - words = to_jsonb(OLD) - words THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
CREATE FUNCTION reports.only_seal_or_erase_comment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words CONSTANT text[] := ARRAY['comment', 'comment_sealed'];
    seals CONSTANT boolean := OLD.comment IS NOT NULL AND NEW.comment_sealed IS NOT NULL;
    erases CONSTANT boolean := NEW.comment_sealed IS NULL;
BEGIN
    IF NEW.comment IS NULL AND (seals OR erases) AND to_jsonb(NEW) - words = to_jsonb(OLD) - words THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
DROP TRIGGER history_erased_only ON reports.history;
CREATE TRIGGER history_words_only BEFORE UPDATE ON reports.history
    FOR EACH ROW EXECUTE FUNCTION reports.only_seal_or_erase_details();
DROP TRIGGER rating_erased_only ON reports.rating;
CREATE TRIGGER rating_words_only BEFORE UPDATE ON reports.rating
    FOR EACH ROW EXECUTE FUNCTION reports.only_seal_or_erase_comment();
DROP FUNCTION reports.only_erase_details();
DROP FUNCTION reports.only_erase_comment();
