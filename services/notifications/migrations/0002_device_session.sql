-- A device goes with the session that registered it: who signed out, or was signed out, gets no more push messages there.
SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications.device ADD COLUMN session_id uuid;
COMMENT ON COLUMN notifications.device.session_id IS 'The session that registered it last. Null: registered before sessions were kept, until the app registers again.';
CREATE INDEX device_session_idx ON notifications.device (session_id);

CREATE TABLE notifications.ended_session (
    session_id uuid        NOT NULL,
    forget_at  timestamptz NOT NULL,
    CONSTRAINT ended_session_pk PRIMARY KEY (session_id)
);
COMMENT ON TABLE notifications.ended_session IS 'Sessions that ended while a token of theirs may still be alive: they register no device. Removed once every token has expired by itself.';
CREATE INDEX ended_session_forget_at_idx ON notifications.ended_session (forget_at);

GRANT SELECT, INSERT, DELETE ON notifications.ended_session TO trangtien_notifications;
