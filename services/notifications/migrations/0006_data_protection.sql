-- Push tokens and names of devices are sealed under the key of their citizen; tokens are looked up by a keyed digest.
-- Rows from before are sealed by a task, beside everything else.
SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications.device
    ALTER COLUMN token DROP NOT NULL,
    ALTER COLUMN name DROP NOT NULL,
    ADD COLUMN token_lookup bytea,
    ADD COLUMN token_sealed bytea,
    ADD COLUMN name_sealed bytea,
    ADD CONSTRAINT device_token_lookup_is_unique UNIQUE (platform, token_lookup),
    ADD CONSTRAINT device_token_lookup_length CHECK (octet_length(token_lookup) = 32);
COMMENT ON COLUMN notifications.device.token IS 'Only in rows from before token_sealed, until they are sealed; so is name.';
COMMENT ON COLUMN notifications.device.token_lookup IS 'HMAC-SHA256 of the token: it belongs to one citizen. As personal as the token; it goes with the row.';
COMMENT ON COLUMN notifications.device.token_sealed IS 'The token, sealed under the citizen''s key.';
COMMENT ON COLUMN notifications.device.name_sealed IS 'The name, sealed under the citizen''s key.';
CREATE INDEX device_unsealed_idx ON notifications.device (id) WHERE token IS NOT NULL;

-- What is kept of one citizen is looked up, to hand it over and to erase it.
CREATE INDEX message_recipient_idx ON notifications.message (recipient);
GRANT DELETE ON notifications.inbox_head, notifications.preference TO trangtien_notifications;
