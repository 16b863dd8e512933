-- A photo is announced before its file is stored, so that no file is ever left that nothing names.
SET LOCAL lock_timeout = '5s';

CREATE TABLE reports.arrival (
    photo_id  uuid        NOT NULL,
    report_id uuid        NOT NULL,
    ticket    uuid,
    begun_at  timestamptz NOT NULL,
    CONSTRAINT arrival_pk PRIMARY KEY (photo_id),
    CONSTRAINT arrival_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id)
);
CREATE INDEX arrival_begun_ix ON reports.arrival (begun_at);
CREATE INDEX arrival_report_ix ON reports.arrival (report_id);
COMMENT ON TABLE reports.arrival IS 'Photos whose storing began lately: a file may be there that is not written down in reports.attachment yet. A photo is written down only with the ticket that it began with; NULL while its file is taken away.';
GRANT SELECT, INSERT, DELETE ON reports.arrival TO trangtien_reports;
GRANT UPDATE (ticket, begun_at) ON reports.arrival TO trangtien_reports;
