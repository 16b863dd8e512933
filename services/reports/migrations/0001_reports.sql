-- Platform's own tables stand in this schema already; field reports add theirs in later migrations.
SET LOCAL lock_timeout = '5s';

COMMENT ON SCHEMA reports IS 'Field reports: what citizens tell the city, where, and who must act.';
