-- Photos are written by one statement, which takes the report's row and counts behind it.
CREATE FUNCTION reports.has_room(p_report uuid, p_kind text, p_round integer, p_most bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT count(*) FROM reports.attachment
            WHERE report_id = p_report AND kind = p_kind AND (kind = 'report' OR round = p_round)) < p_most;
END;
$$;
COMMENT ON FUNCTION reports.has_room IS 'Whether a report, or a round of it, has fewer photos of a kind than it may have. It sees all photos of whoever held the report''s row before.';
