-- How much one citizen sends within a day is counted again by the statement that files, which files for many requests.
CREATE FUNCTION reports.sent_since(p_user uuid, p_since timestamptz, p_most bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('reports.sent_since ' || p_user, 0));
    RETURN (SELECT count(*) FROM (
        SELECT FROM reports.reporter JOIN reports.report ON report.id = reporter.report_id
        WHERE reporter.user_id = p_user AND report.created_at > p_since LIMIT p_most) AS sent);
END;
$$;
COMMENT ON FUNCTION reports.sent_since IS 'How many reports a citizen sent since a moment; counting ends at p_most. Whoever else files for them is waited for, so that none is left out.';
