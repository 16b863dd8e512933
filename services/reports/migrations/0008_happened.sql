-- What ended on a day, rated or not, is found by its day.
SET LOCAL lock_timeout = '5s';

CREATE INDEX rating_rated_ix ON reports.rating (rated_at);
CREATE INDEX report_closed_ix ON reports.report (updated_at) WHERE state = 'closed';
