-- Warnings that no officer drafted: from alarms of rivers and from CAP documents of partners. An officer adopts such a draft before another releases it.
SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications.alert
    ALTER COLUMN drafted_by DROP NOT NULL,
    ADD COLUMN origin text NOT NULL DEFAULT 'officer',
    ADD COLUMN origin_reference text,
    ADD COLUMN revision integer NOT NULL DEFAULT 1,
    ADD CONSTRAINT alert_origin_is_known CHECK (origin IN ('officer', 'alarm', 'cap')),
    ADD CONSTRAINT alert_origin_is_named CHECK ((origin = 'officer') = (origin_reference IS NULL)),
    ADD CONSTRAINT alert_released_was_drafted_by_somebody CHECK (released_at IS NULL OR kind = 'cancel' OR drafted_by IS NOT NULL),
    DROP CONSTRAINT alert_ended_has_a_time,
    ADD CONSTRAINT alert_ended_has_a_time CHECK (
        (state IN ('withdrawn', 'updated', 'cancelled')) = (ended_at IS NOT NULL)
        AND (ended_by IS NULL OR ended_at IS NOT NULL)
        AND (ended_at IS NULL OR ended_by IS NOT NULL OR origin <> 'officer'));

CREATE INDEX alert_supersedes_idx ON notifications.alert (supersedes) WHERE supersedes IS NOT NULL;
COMMENT ON COLUMN notifications.alert.revision IS 'Counts what the draft has said. Whoever releases it says which they read.';

ALTER TABLE notifications.alert_fan_out ADD COLUMN told bytea;
COMMENT ON COLUMN notifications.alert_fan_out.told IS 'The reach that the city was told last, as its event carries it.';

CREATE TABLE notifications.alert_alarm (
    alarm_id uuid    NOT NULL,
    crossing integer NOT NULL,
    alert_id uuid    NOT NULL,
    station  text    NOT NULL,
    exercise boolean NOT NULL,
    CONSTRAINT alert_alarm_pk PRIMARY KEY (alarm_id, crossing, alert_id),
    CONSTRAINT alert_alarm_alert_fk FOREIGN KEY (alert_id) REFERENCES notifications.alert (id)
);
COMMENT ON TABLE notifications.alert_alarm IS 'The drafts that an alarm made: one each time that it reached its highest level, however often that is told, and one each time that it got worse there or outlasted its warning.';
CREATE INDEX alert_alarm_station_idx ON notifications.alert_alarm (station, exercise, alert_id DESC);
CREATE INDEX alert_alarm_alert_idx ON notifications.alert_alarm (alert_id);

CREATE TABLE notifications.high_alarm (
    alarm_id uuid  NOT NULL,
    told     bytea NOT NULL,
    CONSTRAINT high_alarm_pk PRIMARY KEY (alarm_id)
);
COMMENT ON TABLE notifications.high_alarm IS 'Alarms at their highest level, as the centre told them last. While one stands here, its warning is renewed before it lapses.';

CREATE TABLE notifications.cap_message (
    sender      text        NOT NULL,
    identifier  text        NOT NULL,
    sent_at     timestamptz NOT NULL,
    kind        text        NOT NULL,
    partner     text,
    officer     uuid,
    signed      boolean     NOT NULL,
    fingerprint bytea       NOT NULL,
    document    text        NOT NULL,
    received_at timestamptz NOT NULL,
    alert_id    uuid        NOT NULL,
    CONSTRAINT cap_message_pk PRIMARY KEY (sender, identifier),
    CONSTRAINT cap_message_kind_is_known CHECK (kind IN ('alert', 'update', 'cancel')),
    CONSTRAINT cap_message_has_one_source CHECK ((partner IS NULL) <> (officer IS NULL)),
    CONSTRAINT cap_message_alert_fk FOREIGN KEY (alert_id) REFERENCES notifications.alert (id)
);
COMMENT ON TABLE notifications.cap_message IS 'CAP documents that came in, as they came: who brought each, and the draft that it made, or, of a cancellation, withdrew. signed: it carries a signature, which is kept and not checked.';

GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.high_alarm TO trangtien_notifications;
GRANT SELECT, INSERT ON notifications.alert_alarm TO trangtien_notifications;
GRANT SELECT, INSERT ON notifications.cap_message TO trangtien_notifications;
