-- Lists of what came in, and of what ran out of time, on a day.
SET LOCAL lock_timeout = '5s';

CREATE INDEX report_created_ix ON reports.report (created_at);
CREATE INDEX escalation_breach_ix ON reports.escalation (escalated_at) WHERE level = 100;
