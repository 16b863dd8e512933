-- What happened to reports is listed one by one: of a day, or all of one agency.
SET LOCAL lock_timeout = '5s';

CREATE INDEX escalation_breach_agency_ix ON reports.escalation (agency, escalated_at) WHERE level = 100;
CREATE INDEX outcome_agency_ix ON reports.outcome (agency, published_at);
CREATE INDEX history_unrated_ix ON reports.history (occurred_at) WHERE action = 'expire' AND from_state = 'published';
CREATE INDEX history_unrated_report_ix ON reports.history (report_id, round) WHERE action = 'expire' AND from_state = 'published';
