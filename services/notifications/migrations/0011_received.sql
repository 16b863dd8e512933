-- Whether a phone has a message: what its app says, beside the gateway's word on text messages.
SET LOCAL lock_timeout = '5s';

ALTER TABLE notifications.message ADD COLUMN received_at timestamptz;
COMMENT ON COLUMN notifications.message.received_at IS 'When an app of the recipient first said that it has the message; nothing where none did. That a gateway took it is the state''s to say.';
