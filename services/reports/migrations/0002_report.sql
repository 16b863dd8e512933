-- Reports with their append-only history, the people behind them kept apart, photos, ratings, escalations, officers.
SET LOCAL lock_timeout = '5s';

GRANT USAGE ON SCHEMA reports TO trangtien_reports;

CREATE TABLE reports.report (
    id            uuid             NOT NULL,
    category      text             NOT NULL,
    lane          text             NOT NULL,
    body          text             NOT NULL,
    public_body   text             NOT NULL,
    attributes    jsonb            NOT NULL,
    lon           double precision,
    lat           double precision,
    address       text,
    ward_code     text,
    agency_code   text,
    state         text             NOT NULL,
    version       bigint           NOT NULL,
    round         integer          NOT NULL,
    lead_agency   text,
    co_agencies   text[]           NOT NULL,
    progress      jsonb            NOT NULL,
    result        text,
    due_at        timestamptz,
    first_due_at  timestamptz,
    public_since  timestamptz,
    merged_into   uuid,
    created_at    timestamptz      NOT NULL,
    updated_at    timestamptz      NOT NULL,
    CONSTRAINT report_pk PRIMARY KEY (id),
    CONSTRAINT report_merged_into_fk FOREIGN KEY (merged_into) REFERENCES reports.report (id),
    CONSTRAINT report_lane_ck CHECK (lane IN ('instant', 'timed')),
    CONSTRAINT report_body_ck CHECK (length(body) BETWEEN 1 AND 4000 AND length(public_body) BETWEEN 1 AND 4000),
    CONSTRAINT report_position_ck CHECK ((lon IS NULL) = (lat IS NULL) AND lon BETWEEN -180 AND 180 AND lat BETWEEN -90 AND 90),
    CONSTRAINT report_place_ck CHECK (lon IS NOT NULL OR address IS NOT NULL),
    CONSTRAINT report_address_ck CHECK (length(address) BETWEEN 1 AND 300),
    CONSTRAINT report_result_ck CHECK (length(result) BETWEEN 1 AND 4000),
    CONSTRAINT report_state_ck CHECK (state IN ('received', 'verifying', 'needs-info', 'rejected', 'duplicate', 'distributed',
        'in-progress', 'result-submitted', 'published', 'closed')),
    CONSTRAINT report_version_ck CHECK (version > 0 AND round > 0),
    CONSTRAINT report_merged_ck CHECK ((state = 'duplicate') = (merged_into IS NOT NULL) AND merged_into <> id)
) WITH (fillfactor = 70);
COMMENT ON TABLE reports.report IS 'One report as it stands. Who sent it is in reports.reporter only. progress is the state machine''s own record; the columns beside it are for queries. public_body is what everyone but the operations centre and the reporter reads.';
CREATE INDEX report_open_ix ON reports.report (due_at, id) WHERE state NOT IN ('rejected', 'duplicate', 'published', 'closed');
CREATE INDEX report_lead_ix ON reports.report (lead_agency, id) WHERE lead_agency IS NOT NULL;
CREATE INDEX report_co_ix ON reports.report USING gin (co_agencies) WHERE co_agencies <> '{}';
CREATE INDEX report_public_ix ON reports.report (id) WHERE public_since IS NOT NULL;
CREATE INDEX report_near_ix ON reports.report (category, lat, lon) WHERE lat IS NOT NULL;
CREATE INDEX report_merged_ix ON reports.report (merged_into) WHERE merged_into IS NOT NULL;
GRANT SELECT, INSERT ON reports.report TO trangtien_reports;
GRANT UPDATE (public_body, ward_code, state, version, round, lead_agency, co_agencies, progress, result, due_at, first_due_at,
    public_since, merged_into, updated_at) ON reports.report TO trangtien_reports;

CREATE TABLE reports.reporter (
    report_id uuid NOT NULL,
    user_id   uuid NOT NULL,
    CONSTRAINT reporter_pk PRIMARY KEY (report_id),
    CONSTRAINT reporter_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id)
);
CREATE INDEX reporter_user_ix ON reports.reporter (user_id, report_id);
COMMENT ON TABLE reports.reporter IS 'Who sent a report, by the opaque id of identity. Read for the reporter''s own access, for the operations centre and for the private stream, by nothing else.';
GRANT SELECT, INSERT ON reports.reporter TO trangtien_reports;

CREATE TABLE reports.history (
    report_id     uuid        NOT NULL,
    version       bigint      NOT NULL,
    action        text        NOT NULL,
    from_state    text,
    to_state      text        NOT NULL,
    round         integer     NOT NULL,
    actor         text        NOT NULL,
    agency        text,
    officer_id    uuid,
    details       text        NOT NULL,
    occurred_at   timestamptz NOT NULL,
    previous_hash bytea       NOT NULL,
    hash          bytea       NOT NULL,
    CONSTRAINT history_pk PRIMARY KEY (report_id, version),
    CONSTRAINT history_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT history_version_ck CHECK (version > 0),
    CONSTRAINT history_first_ck CHECK ((version = 1) = (from_state IS NULL)),
    CONSTRAINT history_actor_ck CHECK (actor IN ('citizen', 'ioc', 'supervisor', 'agency', 'system')),
    CONSTRAINT history_agency_ck CHECK ((actor = 'agency') = (agency IS NOT NULL)),
    CONSTRAINT history_officer_ck CHECK ((actor IN ('ioc', 'supervisor', 'agency')) = (officer_id IS NOT NULL)),
    CONSTRAINT history_hash_ck CHECK (octet_length(hash) = 32 AND octet_length(previous_hash) = 32)
);
COMMENT ON TABLE reports.history IS 'Everything that was done to a report, one row for each version, chained by SHA-256 within the report. Never changed. Names no citizen.';
GRANT SELECT, INSERT ON reports.history TO trangtien_reports;

CREATE TABLE reports.attachment (
    id         uuid        NOT NULL,
    report_id  uuid        NOT NULL,
    kind       text        NOT NULL,
    round      integer     NOT NULL,
    agency     text,
    media_type text        NOT NULL,
    bytes      integer     NOT NULL,
    width      integer     NOT NULL,
    height     integer     NOT NULL,
    sha256     bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT attachment_pk PRIMARY KEY (id),
    CONSTRAINT attachment_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id),
    CONSTRAINT attachment_kind_ck CHECK (kind IN ('report', 'evidence')),
    CONSTRAINT attachment_agency_ck CHECK ((kind = 'evidence') = (agency IS NOT NULL)),
    CONSTRAINT attachment_size_ck CHECK (bytes > 0 AND width > 0 AND height > 0),
    CONSTRAINT attachment_sha256_ck CHECK (octet_length(sha256) = 32)
);
CREATE INDEX attachment_report_ix ON reports.attachment (report_id, id);
COMMENT ON TABLE reports.attachment IS 'Photos as they were stored: decoded, stripped of everything but the picture, encoded again. The bytes are in the object store under report/attachment.';
GRANT SELECT, INSERT ON reports.attachment TO trangtien_reports;

CREATE TABLE reports.rating (
    report_id uuid        NOT NULL,
    round     integer     NOT NULL,
    rating    text        NOT NULL,
    comment   text,
    rated_at  timestamptz NOT NULL,
    CONSTRAINT rating_pk PRIMARY KEY (report_id, round),
    CONSTRAINT rating_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id),
    CONSTRAINT rating_rating_ck CHECK (rating IN ('satisfied', 'acceptable', 'dissatisfied')),
    CONSTRAINT rating_comment_ck CHECK (length(comment) BETWEEN 1 AND 1000)
);
COMMENT ON TABLE reports.rating IS 'How satisfied the reporter was with a round. Never changed.';
GRANT SELECT, INSERT ON reports.rating TO trangtien_reports;

CREATE TABLE reports.outcome (
    report_id     uuid        NOT NULL,
    round         integer     NOT NULL,
    category      text        NOT NULL,
    agency        text        NOT NULL,
    kept_first    boolean     NOT NULL,
    kept_extended boolean     NOT NULL,
    published_at  timestamptz NOT NULL,
    CONSTRAINT outcome_pk PRIMARY KEY (report_id, round),
    CONSTRAINT outcome_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id),
    CONSTRAINT outcome_kept_ck CHECK (kept_extended OR NOT kept_first)
);
CREATE INDEX outcome_published_ix ON reports.outcome (published_at);
COMMENT ON TABLE reports.outcome IS 'Whether a published result came within the first deadline of its round, and within the one in force. Never changed.';
GRANT SELECT, INSERT ON reports.outcome TO trangtien_reports;

CREATE TABLE reports.escalation (
    report_id    uuid        NOT NULL,
    stopwatch    integer     NOT NULL,
    level        smallint    NOT NULL,
    state        text        NOT NULL,
    agency       text,
    escalated_at timestamptz NOT NULL,
    CONSTRAINT escalation_pk PRIMARY KEY (report_id, stopwatch, level),
    CONSTRAINT escalation_report_fk FOREIGN KEY (report_id) REFERENCES reports.report (id),
    CONSTRAINT escalation_level_ck CHECK (level IN (80, 100, 150))
);
COMMENT ON TABLE reports.escalation IS 'That a share of a time limit was spent, in percent: once for each stopwatch of a report. Never changed.';
GRANT SELECT, INSERT ON reports.escalation TO trangtien_reports;

CREATE TABLE reports.officer (
    user_id      uuid        NOT NULL,
    role         text        NOT NULL,
    agency       text,
    appointed_at timestamptz NOT NULL,
    CONSTRAINT officer_pk PRIMARY KEY (user_id),
    CONSTRAINT officer_role_ck CHECK (role IN ('ioc', 'supervisor', 'agency')),
    CONSTRAINT officer_agency_ck CHECK ((role = 'agency') = (agency IS NOT NULL))
);
COMMENT ON TABLE reports.officer IS 'Who acts for the operations centre or for an agency, by the opaque id of identity.';
GRANT SELECT, INSERT, UPDATE, DELETE ON reports.officer TO trangtien_reports;

CREATE TABLE reports.appointment (
    id          uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    act         text        NOT NULL,
    role        text,
    agency      text,
    by_officer  uuid,
    acted_at    timestamptz NOT NULL,
    CONSTRAINT appointment_pk PRIMARY KEY (id),
    CONSTRAINT appointment_act_ck CHECK (act IN ('appoint', 'dismiss')),
    CONSTRAINT appointment_role_ck CHECK ((act = 'appoint') = (role IS NOT NULL))
);
COMMENT ON TABLE reports.appointment IS 'Who was made an officer or no longer is one, and by whom; by nobody when it was done on the machine itself. Never changed.';
GRANT SELECT, INSERT ON reports.appointment TO trangtien_reports;

CREATE FUNCTION reports.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;

-- A row of the history fits only behind the row of the version before it.
CREATE FUNCTION reports.chain_history() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last bytea;
BEGIN
    SELECT h.hash INTO last FROM reports.history AS h WHERE h.report_id = NEW.report_id AND h.version = NEW.version - 1;
    IF coalesce(last, decode(repeat('00', 32), 'hex')) <> NEW.previous_hash OR (last IS NULL) <> (NEW.version = 1) THEN
        RAISE EXCEPTION 'history of report % does not chain at version %', NEW.report_id, NEW.version
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER history_chained BEFORE INSERT ON reports.history FOR EACH ROW EXECUTE FUNCTION reports.chain_history();
CREATE TRIGGER history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.history
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER reporter_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.reporter
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER attachment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.attachment
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER rating_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.rating
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER outcome_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.outcome
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER escalation_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.escalation
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
CREATE TRIGGER appointment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON reports.appointment
    FOR EACH STATEMENT EXECUTE FUNCTION reports.refuse_change();
