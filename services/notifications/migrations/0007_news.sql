-- News of the city, which officers publish for everybody or for wards, and who everybody is.
SET LOCAL lock_timeout = '5s';

CREATE TABLE notifications.citizen (
    user_id uuid NOT NULL,
    CONSTRAINT citizen_pk PRIMARY KEY (user_id)
);
COMMENT ON TABLE notifications.citizen IS 'Who has an account, by identity''s word: news for all go to them. A row goes with the account.';
GRANT SELECT, INSERT, DELETE ON notifications.citizen TO trangtien_notifications;
-- Those whom something concerned before; others come with their next sign-in.
INSERT INTO notifications.citizen (user_id)
SELECT user_id FROM notifications.inbox_head UNION SELECT user_id FROM notifications.device
UNION SELECT user_id FROM notifications.preference UNION SELECT user_id FROM notifications.ward_choice;

CREATE TABLE notifications.news (
    id           uuid        NOT NULL,
    title        jsonb       NOT NULL,
    text         jsonb       NOT NULL,
    wards        text[],
    published_by uuid        NOT NULL,
    published_at timestamptz NOT NULL,
    position     uuid        NOT NULL,
    recipients   bigint      NOT NULL,
    ended_at     timestamptz,
    CONSTRAINT news_pk PRIMARY KEY (id),
    CONSTRAINT news_wards_are_some CHECK (cardinality(wards) > 0),
    CONSTRAINT news_recipients_is_not_negative CHECK (recipients >= 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE notifications.news IS 'What officers published, in both languages; it never changes. wards: null for all. position: everybody up to this citizen, in order of id, has their messages; saved with each batch of them.';
CREATE INDEX news_published_at_idx ON notifications.news (published_at);
GRANT SELECT, INSERT ON notifications.news TO trangtien_notifications;
GRANT UPDATE (position, recipients, ended_at) ON notifications.news TO trangtien_notifications;
