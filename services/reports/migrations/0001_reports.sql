-- The runtime role may use the schema; its tables grant what it needs one by one.
SET LOCAL lock_timeout = '5s';

GRANT USAGE ON SCHEMA reports TO trangtien_reports;
