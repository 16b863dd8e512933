-- Who has no telephone: what is told to them goes to whoever acts for them.
SET LOCAL lock_timeout = '5s';

CREATE TABLE notifications.dependent (
    user_id     uuid NOT NULL,
    guardian_id uuid NOT NULL,
    CONSTRAINT dependent_pk PRIMARY KEY (user_id),
    CONSTRAINT dependent_two_people CHECK (user_id <> guardian_id)
);
COMMENT ON TABLE notifications.dependent IS 'Accounts without a telephone number and their guardians, by identity''s word. A row goes when the account has a number, and with the account.';
GRANT SELECT, INSERT, UPDATE, DELETE ON notifications.dependent TO trangtien_notifications;
