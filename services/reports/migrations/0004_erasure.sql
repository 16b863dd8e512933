-- What a reporter wrote, photographed and where they stood goes with them. What was done to the report, when and by which agency stays.
--
-- Rows that are never changed may from now on lose words, and nothing else: a row of the history keeps its hash, so that the chain
-- still holds; a photo of the reporter's is removed.
SET LOCAL lock_timeout = '5s';

ALTER TABLE reports.report
    ADD COLUMN erased_at timestamptz,
    DROP CONSTRAINT report_place_ck,
    ADD CONSTRAINT report_place_ck CHECK (lon IS NOT NULL OR address IS NOT NULL OR erased_at IS NOT NULL),
    ADD CONSTRAINT report_erased_ck CHECK (erased_at IS NULL OR (body IS NULL AND body_sealed IS NULL AND address IS NULL));
COMMENT ON COLUMN reports.report.erased_at IS 'When the reporter was erased, and with them their words, photos and form texts. The position is the middle of the ward.';
GRANT UPDATE (erased_at, attributes, lon, lat, address) ON reports.report TO trangtien_reports;

ALTER TABLE reports.history ADD COLUMN erased_at timestamptz;
COMMENT ON COLUMN reports.history.erased_at IS 'When the details, which a citizen had written, were removed. The hash covers what they were.';
GRANT UPDATE (details, erased_at) ON reports.history TO trangtien_reports;
GRANT UPDATE (comment) ON reports.rating TO trangtien_reports;
GRANT DELETE ON reports.attachment TO trangtien_reports;

CREATE FUNCTION reports.only_erase_details() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.actor = 'citizen' AND NEW.details = '{}' AND NEW.erased_at IS NOT NULL
        AND to_jsonb(NEW) - ARRAY['details', 'erased_at'] = to_jsonb(OLD) - ARRAY['details', 'erased_at'] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
CREATE FUNCTION reports.only_erase_comment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.comment IS NULL AND to_jsonb(NEW) - 'comment' = to_jsonb(OLD) - 'comment' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
CREATE FUNCTION reports.only_erase_photo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.kind = 'report' AND EXISTS (SELECT FROM reports.report WHERE id = OLD.report_id AND erased_at IS NOT NULL) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never removed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
-- Whoever looked before the erasure and writes after it.
CREATE FUNCTION reports.refuse_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM reports.report WHERE id = NEW.report_id AND erased_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the reporter of % was erased', NEW.report_id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END;
$$;

DROP TRIGGER history_append_only ON reports.history;
CREATE TRIGGER history_append_only BEFORE DELETE OR TRUNCATE ON reports.history
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER history_erased_only BEFORE UPDATE ON reports.history
    FOR EACH ROW EXECUTE FUNCTION reports.only_erase_details();
CREATE TRIGGER history_of_somebody BEFORE INSERT ON reports.history
    FOR EACH ROW WHEN (NEW.actor = 'citizen' AND NEW.version > 1) EXECUTE FUNCTION reports.refuse_erased();
DROP TRIGGER rating_append_only ON reports.rating;
CREATE TRIGGER rating_append_only BEFORE DELETE OR TRUNCATE ON reports.rating
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER rating_erased_only BEFORE UPDATE ON reports.rating
    FOR EACH ROW EXECUTE FUNCTION reports.only_erase_comment();
DROP TRIGGER attachment_append_only ON reports.attachment;
CREATE TRIGGER attachment_append_only BEFORE UPDATE OR TRUNCATE ON reports.attachment
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER attachment_erased_only BEFORE DELETE ON reports.attachment
    FOR EACH ROW EXECUTE FUNCTION reports.only_erase_photo();
CREATE TRIGGER attachment_of_somebody BEFORE INSERT ON reports.attachment
    FOR EACH ROW WHEN (NEW.kind = 'report') EXECUTE FUNCTION reports.refuse_erased();
