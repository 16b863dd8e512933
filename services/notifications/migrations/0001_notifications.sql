-- Messages to people: what is to be said to whom over which channel, what was tried, and what came of it.
-- No one-time code, phone number or rendered text is stored; texts are made from template and parameters when they are needed.
GRANT USAGE ON SCHEMA notifications TO trangtien_notifications;

CREATE TABLE notifications.message (
    id         uuid        NOT NULL,
    event_id   uuid        NOT NULL,
    recipient  uuid        NOT NULL,
    lane       text        NOT NULL,
    channel    text        NOT NULL,
    template   text        NOT NULL,
    parameters jsonb       NOT NULL,
    state      text        NOT NULL,
    reason     text,
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    CONSTRAINT message_pk PRIMARY KEY (id),
    CONSTRAINT message_is_sent_once UNIQUE (event_id, recipient, channel, template),
    CONSTRAINT message_lane_is_known CHECK (lane IN ('emergency', 'security', 'payment', 'service', 'news')),
    CONSTRAINT message_channel_is_known CHECK (channel IN ('in-app', 'push', 'sms')),
    CONSTRAINT message_state_is_known CHECK (state IN ('waiting', 'delivered', 'failed', 'suppressed')),
    CONSTRAINT message_settled_has_a_time CHECK ((state = 'waiting') = (settled_at IS NULL)),
    CONSTRAINT message_failed_has_a_reason CHECK (state NOT IN ('failed', 'suppressed') OR reason IS NOT NULL)
);
COMMENT ON TABLE notifications.message IS 'One message to one recipient (a citizen, or a sign-in challenge) over one channel. Parameters fill the template; they hold no secret.';
CREATE INDEX message_waiting_idx ON notifications.message (lane) WHERE state = 'waiting';
CREATE INDEX message_created_at_idx ON notifications.message (created_at);

CREATE TABLE notifications.attempt (
    id                uuid        NOT NULL,
    message_id        uuid        NOT NULL,
    device_id         uuid,
    outcome           text        NOT NULL,
    gateway_reference text,
    attempted_at      timestamptz NOT NULL,
    duration_ms       integer     NOT NULL,
    CONSTRAINT attempt_pk PRIMARY KEY (id),
    CONSTRAINT attempt_message_fk FOREIGN KEY (message_id) REFERENCES notifications.message (id) ON DELETE CASCADE,
    CONSTRAINT attempt_duration_is_not_negative CHECK (duration_ms >= 0)
);
COMMENT ON TABLE notifications.attempt IS 'What was tried for a message and what the gateway answered: the proof of delivery. Append only. A device may be gone since.';
CREATE INDEX attempt_message_idx ON notifications.attempt (message_id);

CREATE TABLE notifications.inbox_head (
    user_id  uuid   NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT inbox_head_pk PRIMARY KEY (user_id),
    CONSTRAINT inbox_head_sequence_is_not_negative CHECK (sequence >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE notifications.inbox_head IS 'The last sequence given in a citizen''s inbox. Its lock makes the order of sequences the order of commits, so that a stream can resume.';

CREATE TABLE notifications.inbox (
    user_id    uuid        NOT NULL,
    sequence   bigint      NOT NULL,
    message_id uuid        NOT NULL,
    read_at    timestamptz,
    CONSTRAINT inbox_pk PRIMARY KEY (user_id, sequence),
    CONSTRAINT inbox_message_is_unique UNIQUE (message_id),
    CONSTRAINT inbox_message_fk FOREIGN KEY (message_id) REFERENCES notifications.message (id) ON DELETE CASCADE
);
COMMENT ON TABLE notifications.inbox IS 'In-app messages of a citizen in order of arrival.';

CREATE TABLE notifications.preference (
    user_id    uuid        NOT NULL,
    language   text,
    version    bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT preference_pk PRIMARY KEY (user_id),
    CONSTRAINT preference_language_is_known CHECK (language IN ('vi', 'en')),
    CONSTRAINT preference_version_is_positive CHECK (version > 0)
);
COMMENT ON TABLE notifications.preference IS 'What a citizen chose. Without a row, or without a language, identity''s language counts.';

CREATE TABLE notifications.muted (
    user_id uuid NOT NULL,
    lane    text NOT NULL,
    channel text NOT NULL,
    CONSTRAINT muted_pk PRIMARY KEY (user_id, lane, channel),
    CONSTRAINT muted_lane_may_be_muted CHECK (lane IN ('payment', 'service', 'news')),
    CONSTRAINT muted_channel_is_known CHECK (channel IN ('in-app', 'push', 'sms'))
);
COMMENT ON TABLE notifications.muted IS 'Lanes and channels that a citizen switched off. Emergency and security can''t be.';

CREATE TABLE notifications.device (
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    platform   text        NOT NULL,
    token      text        NOT NULL,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT device_pk PRIMARY KEY (id),
    CONSTRAINT device_token_is_unique UNIQUE (platform, token),
    CONSTRAINT device_platform_is_known CHECK (platform IN ('fcm')),
    CONSTRAINT device_token_is_bounded CHECK (length(token) BETWEEN 1 AND 4096),
    CONSTRAINT device_name_is_bounded CHECK (length(name) BETWEEN 1 AND 100)
);
COMMENT ON TABLE notifications.device IS 'Where push messages go. A token belongs to one citizen, the one who registered it last.';
CREATE INDEX device_user_idx ON notifications.device (user_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.message TO trangtien_notifications;
GRANT SELECT, INSERT, DELETE ON notifications.attempt TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE ON notifications.inbox_head TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.inbox TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE ON notifications.preference TO trangtien_notifications;
GRANT SELECT, INSERT, DELETE ON notifications.muted TO trangtien_notifications;
GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.device TO trangtien_notifications;
