-- When citizens want no noise, and what they want once a day.
SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications.preference
    ADD COLUMN quiet_from smallint,
    ADD COLUMN quiet_to smallint,
    ADD COLUMN digest_at smallint,
    ADD CONSTRAINT preference_quiet_is_whole CHECK ((quiet_from IS NULL) = (quiet_to IS NULL) AND quiet_from <> quiet_to),
    ADD CONSTRAINT preference_times_are_of_a_day CHECK (
        quiet_from BETWEEN 0 AND 1439 AND quiet_to BETWEEN 0 AND 1439 AND digest_at BETWEEN 0 AND 1439);
COMMENT ON COLUMN notifications.preference.quiet_from IS 'Minute of the city''s day from which push and text messages that can wait do wait; until quiet_to, over midnight where that is earlier.';
COMMENT ON COLUMN notifications.preference.digest_at IS 'Minute of the city''s day at which news come together as one push message; without it each comes by itself.';

CREATE TABLE notifications.digest_item (
    message_id uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    due_at     timestamptz NOT NULL,
    CONSTRAINT digest_item_pk PRIMARY KEY (message_id),
    CONSTRAINT digest_item_message_fk FOREIGN KEY (message_id) REFERENCES notifications.message (id) ON DELETE CASCADE
);
COMMENT ON TABLE notifications.digest_item IS 'Push messages that wait to be told together. A row goes in the transaction that makes the digest.';
CREATE INDEX digest_item_user_idx ON notifications.digest_item (user_id, due_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.digest_item TO trangtien_notifications;
