-- Field reports as their events tell them: how each stands, how many stand where, and what happened to them by day.
--
-- Counted under the lock of ioc.board, as everything else. No text, no position and no person: a report is an opaque id.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ioc.report_case (
    report_id uuid    NOT NULL,
    version   bigint  NOT NULL,
    state     text    NOT NULL,
    ward      text    NOT NULL,
    agency    text    NOT NULL,
    overdue   boolean NOT NULL,
    CONSTRAINT report_case_pk PRIMARY KEY (report_id),
    CONSTRAINT report_case_version_ck CHECK (version > 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.report_case IS 'How each report stood after the newest of its events: what an older one says is known already. Empty ward or agency: none is known, none leads. Overdue: the time limit of whoever must act has run out.';
GRANT SELECT, INSERT, UPDATE ON ioc.report_case TO trangtien_ioc;

CREATE TABLE ioc.report_standing (
    state    text   NOT NULL,
    agency   text   NOT NULL,
    ward     text   NOT NULL,
    reports  bigint NOT NULL,
    overdue  bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT report_standing_pk PRIMARY KEY (state, agency, ward),
    CONSTRAINT report_standing_count_ck CHECK (reports >= 0 AND overdue BETWEEN 0 AND reports)
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.report_standing IS 'How many reports of report_case stand in each state, with each leading agency, in each ward; a row that fell to 0 stays, so that walls hear of it.';
GRANT SELECT, INSERT, UPDATE ON ioc.report_standing TO trangtien_ioc;

CREATE TABLE ioc.report_day (
    day      date   NOT NULL,
    kind     text   NOT NULL,
    outcome  text   NOT NULL,
    agency   text   NOT NULL,
    category text   NOT NULL,
    ward     text   NOT NULL,
    count    bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT report_day_pk PRIMARY KEY (day, kind, outcome, agency, category, ward),
    CONSTRAINT report_day_kind_ck CHECK (kind IN ('submitted', 'breach', 'result', 'rating')),
    CONSTRAINT report_day_count_ck CHECK (count > 0)
) WITH (fillfactor = 70);
COMMENT ON TABLE ioc.report_day IS 'What happened to reports by day of the city''s time zone: submissions by category and ward, breaches by agency and state, results by agency and kept deadline, ended rounds by agency and rating. What a kind is not counted by is empty.';
GRANT SELECT, INSERT, UPDATE ON ioc.report_day TO trangtien_ioc;

CREATE TABLE ioc.report_total (
    kind     text   NOT NULL,
    outcome  text   NOT NULL,
    agency   text   NOT NULL,
    category text   NOT NULL,
    ward     text   NOT NULL,
    count    bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT report_total_pk PRIMARY KEY (kind, outcome, agency, category, ward),
    CONSTRAINT report_total_kind_ck CHECK (kind IN ('submitted', 'breach', 'result', 'rating')),
    CONSTRAINT report_total_count_ck CHECK (count > 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.report_total IS 'The sums of report_day over all days.';
GRANT SELECT, INSERT, UPDATE ON ioc.report_total TO trangtien_ioc;
