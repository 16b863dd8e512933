-- Sensors as OGC SensorThings 1.1 describes them, what they measured, and the alarms that follow from it.
--
-- Lock order: the rows of a station's datastreams by id (of a datastream of no station its own), then that of ioc.board, then the outbox. The
-- open alarm of a station is changed under the locks of its datastreams only. Nothing here names a citizen.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ioc.thing (
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    name          text        NOT NULL,
    description   text        NOT NULL,
    properties    jsonb       NOT NULL,
    registered_by text        NOT NULL,
    registered_at timestamptz NOT NULL,
    CONSTRAINT thing_pk PRIMARY KEY (id),
    CONSTRAINT thing_properties_ck CHECK (jsonb_typeof(properties) = 'object')
);
COMMENT ON TABLE ioc.thing IS 'What carries sensors. Only the client that registered it may add to it.';

CREATE TABLE ioc.location (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    thing_id      bigint NOT NULL,
    name          text   NOT NULL,
    description   text   NOT NULL,
    encoding_type text   NOT NULL,
    location      jsonb  NOT NULL,
    CONSTRAINT location_pk PRIMARY KEY (id),
    CONSTRAINT location_thing_fk FOREIGN KEY (thing_id) REFERENCES ioc.thing (id)
);
COMMENT ON TABLE ioc.location IS 'Where a thing stands, GeoJSON.';
CREATE INDEX location_thing_idx ON ioc.location (thing_id);

CREATE TABLE ioc.sensor (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    name          text   NOT NULL,
    description   text   NOT NULL,
    encoding_type text   NOT NULL,
    metadata      text   NOT NULL,
    CONSTRAINT sensor_pk PRIMARY KEY (id)
);
COMMENT ON TABLE ioc.sensor IS 'What measures: the instrument and where its description is.';

CREATE TABLE ioc.observed_property (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    name        text   NOT NULL,
    definition  text   NOT NULL,
    description text   NOT NULL,
    CONSTRAINT observed_property_pk PRIMARY KEY (id)
);
COMMENT ON TABLE ioc.observed_property IS 'What is measured.';

CREATE TABLE ioc.datastream (
    id                   bigint           GENERATED ALWAYS AS IDENTITY,
    thing_id             bigint           NOT NULL,
    sensor_id            bigint           NOT NULL,
    observed_property_id bigint           NOT NULL,
    name                 text             NOT NULL,
    description          text             NOT NULL,
    observation_type     text             NOT NULL,
    unit                 jsonb            NOT NULL,
    properties           jsonb            NOT NULL,
    station              text,
    exercise             boolean          NOT NULL,
    newest_at            timestamptz,
    newest_result        double precision,
    CONSTRAINT datastream_pk PRIMARY KEY (id),
    CONSTRAINT datastream_thing_fk FOREIGN KEY (thing_id) REFERENCES ioc.thing (id),
    CONSTRAINT datastream_sensor_fk FOREIGN KEY (sensor_id) REFERENCES ioc.sensor (id),
    CONSTRAINT datastream_observed_property_fk FOREIGN KEY (observed_property_id) REFERENCES ioc.observed_property (id),
    CONSTRAINT datastream_newest_is_whole_ck CHECK ((newest_at IS NULL) = (newest_result IS NULL))
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.datastream IS 'Measurements of one property by one sensor of a thing. One of a flood station of the city''s folder raises alarms by that station''s levels. newest: the newest plausible reading, by the time that it was measured.';
CREATE INDEX datastream_thing_idx ON ioc.datastream (thing_id);
CREATE INDEX datastream_station_idx ON ioc.datastream (station, exercise) WHERE station IS NOT NULL;

CREATE TABLE ioc.observation (
    id            bigint           GENERATED ALWAYS AS IDENTITY,
    datastream_id bigint           NOT NULL,
    phenomenon_at timestamptz      NOT NULL,
    result_at     timestamptz,
    received_at   timestamptz      NOT NULL,
    result        double precision NOT NULL,
    quality       text             NOT NULL,
    CONSTRAINT observation_pk PRIMARY KEY (id),
    CONSTRAINT observation_datastream_fk FOREIGN KEY (datastream_id) REFERENCES ioc.datastream (id),
    CONSTRAINT observation_is_made_once UNIQUE (datastream_id, phenomenon_at),
    CONSTRAINT observation_quality_ck CHECK (quality IN ('good', 'out-of-range', 'jump', 'late'))
);
COMMENT ON TABLE ioc.observation IS 'One reading. Only good ones, in the order in which they were measured, decide about alarms; the others are kept and say why they do not. Removed after two years.';
CREATE INDEX observation_received_at_idx ON ioc.observation (received_at);

CREATE TABLE ioc.alarm (
    id              uuid             NOT NULL,
    datastream_id   bigint           NOT NULL,
    station         text             NOT NULL,
    exercise        boolean          NOT NULL,
    state           text             NOT NULL,
    level           smallint         NOT NULL,
    highest         smallint         NOT NULL,
    crossings       integer          NOT NULL,
    value           double precision NOT NULL,
    measured_at     timestamptz      NOT NULL,
    raised_at       timestamptz      NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by uuid,
    closed_at       timestamptz,
    closed_by       uuid,
    revision        bigint           NOT NULL,
    CONSTRAINT alarm_pk PRIMARY KEY (id),
    CONSTRAINT alarm_datastream_fk FOREIGN KEY (datastream_id) REFERENCES ioc.datastream (id),
    CONSTRAINT alarm_state_ck CHECK (state IN ('raised', 'acknowledged', 'closed')),
    CONSTRAINT alarm_level_ck CHECK (level BETWEEN 1 AND highest AND highest <= 3 AND crossings >= 0),
    CONSTRAINT alarm_acknowledged_ck CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
    CONSTRAINT alarm_closed_ck CHECK ((state = 'closed') = (closed_at IS NOT NULL) AND (closed_by IS NULL OR closed_at IS NOT NULL))
) WITH (fillfactor = 50);
COMMENT ON TABLE ioc.alarm IS 'An alarm of a station, of an exercise apart from what is meant, from the first level reached until the river is below all of them, or an officer closes it. level is the one in force, or the last one; datastream_id the datastream that raised it.';
CREATE UNIQUE INDEX alarm_is_open_once ON ioc.alarm (station, exercise) WHERE state <> 'closed';
CREATE INDEX alarm_revision_idx ON ioc.alarm (revision);

CREATE TABLE ioc.alarm_step (
    alarm_id   uuid             NOT NULL,
    number     integer          NOT NULL,
    kind       text             NOT NULL,
    from_level smallint         NOT NULL,
    to_level   smallint         NOT NULL,
    value      double precision NOT NULL,
    taken_at   timestamptz      NOT NULL,
    officer    uuid,
    note       text,
    CONSTRAINT alarm_step_pk PRIMARY KEY (alarm_id, number),
    CONSTRAINT alarm_step_alarm_fk FOREIGN KEY (alarm_id) REFERENCES ioc.alarm (id),
    CONSTRAINT alarm_step_kind_ck CHECK (kind IN ('raised', 'rose', 'fell', 'acknowledged', 'closed')),
    CONSTRAINT alarm_step_level_ck CHECK (from_level BETWEEN 0 AND 3 AND to_level BETWEEN 0 AND 3),
    CONSTRAINT alarm_step_note_ck CHECK (length(note) BETWEEN 1 AND 500)
);
COMMENT ON TABLE ioc.alarm_step IS 'What became of an alarm, in order; append only. Level 0: below all.';

GRANT SELECT, INSERT ON ioc.thing, ioc.location, ioc.sensor, ioc.observed_property, ioc.alarm_step TO trangtien_ioc;
GRANT SELECT, INSERT, UPDATE ON ioc.datastream, ioc.alarm TO trangtien_ioc;
GRANT SELECT, INSERT, DELETE ON ioc.observation TO trangtien_ioc;
