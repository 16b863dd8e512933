-- Warnings: alerts as messages of CAP 1.2, whom they concern, and how far each has been fanned out.
SET LOCAL lock_timeout = '5s';

CREATE TABLE notifications.ward_choice (
    user_id   uuid        NOT NULL,
    ward_code text        NOT NULL,
    chosen_at timestamptz NOT NULL,
    CONSTRAINT ward_choice_pk PRIMARY KEY (user_id, ward_code),
    CONSTRAINT ward_choice_code_is_bounded CHECK (length(ward_code) BETWEEN 1 AND 20)
);
COMMENT ON TABLE notifications.ward_choice IS 'The wards that concern a citizen, by the citizen''s own word. Warnings to a ward go to those who chose it.';

CREATE TABLE notifications.alert (
    id          uuid        NOT NULL,
    identifier  text        NOT NULL,
    kind        text        NOT NULL,
    state       text        NOT NULL,
    content     jsonb       NOT NULL,
    supersedes  uuid,
    drafted_by  uuid        NOT NULL,
    drafted_at  timestamptz NOT NULL,
    released_by uuid,
    released_at timestamptz,
    ended_by    uuid,
    ended_at    timestamptz,
    expires_at  timestamptz NOT NULL,
    document    text,
    CONSTRAINT alert_pk PRIMARY KEY (id),
    CONSTRAINT alert_identifier_is_unique UNIQUE (identifier),
    CONSTRAINT alert_supersedes_fk FOREIGN KEY (supersedes) REFERENCES notifications.alert (id),
    CONSTRAINT alert_kind_is_known CHECK (kind IN ('alert', 'update', 'cancel')),
    CONSTRAINT alert_state_is_known CHECK (state IN ('drafted', 'withdrawn', 'released', 'updated', 'cancelled')),
    CONSTRAINT alert_first_supersedes_none CHECK ((kind = 'alert') = (supersedes IS NULL)),
    CONSTRAINT alert_released_is_complete CHECK (
        (state IN ('released', 'updated', 'cancelled')) = (released_at IS NOT NULL)
        AND (released_at IS NULL) = (released_by IS NULL)
        AND (released_at IS NULL) = (document IS NULL)),
    CONSTRAINT alert_ended_has_a_time CHECK (
        (state IN ('withdrawn', 'updated', 'cancelled')) = (ended_at IS NOT NULL)
        AND (ended_at IS NULL) = (ended_by IS NULL)),
    CONSTRAINT alert_takes_two_officers CHECK (kind = 'cancel' OR released_by <> drafted_by)
);
COMMENT ON TABLE notifications.alert IS 'One message of CAP from draft to end. The document is made at the release and never changes. Expiry is not stored: it is a matter of time.';
CREATE UNIQUE INDEX alert_is_superseded_once ON notifications.alert (supersedes) WHERE released_at IS NOT NULL;
CREATE INDEX alert_released_at_idx ON notifications.alert (released_at) WHERE released_at IS NOT NULL;

CREATE TABLE notifications.alert_fan_out (
    alert_id   uuid        NOT NULL,
    position   uuid        NOT NULL,
    recipients bigint      NOT NULL,
    ended_at   timestamptz,
    CONSTRAINT alert_fan_out_pk PRIMARY KEY (alert_id),
    CONSTRAINT alert_fan_out_alert_fk FOREIGN KEY (alert_id) REFERENCES notifications.alert (id),
    CONSTRAINT alert_fan_out_recipients_is_not_negative CHECK (recipients >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE notifications.alert_fan_out IS 'How far a released alert has come: everybody up to this citizen, in order of id, has their messages. Saved with each batch of them.';

CREATE TABLE notifications.alert_recipient (
    alert_id  uuid NOT NULL,
    user_id   uuid NOT NULL,
    ward_code text NOT NULL,
    CONSTRAINT alert_recipient_pk PRIMARY KEY (alert_id, user_id, ward_code),
    CONSTRAINT alert_recipient_alert_fk FOREIGN KEY (alert_id) REFERENCES notifications.alert (id)
);
COMMENT ON TABLE notifications.alert_recipient IS 'Who was warned on account of which wards. Removed with the messages.';

GRANT SELECT, INSERT, DELETE ON notifications.ward_choice TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE ON notifications.alert TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE ON notifications.alert_fan_out TO trangtien_notifications;
GRANT SELECT, INSERT, DELETE ON notifications.alert_recipient TO trangtien_notifications;
