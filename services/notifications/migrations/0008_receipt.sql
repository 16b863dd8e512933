-- What SMS gateways say of text messages after they took them.
SET LOCAL lock_timeout = '5s';

CREATE TABLE notifications.sms_receipt (
    message_id  uuid        NOT NULL,
    status      text        NOT NULL,
    reported_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT sms_receipt_pk PRIMARY KEY (message_id),
    CONSTRAINT sms_receipt_message_fk FOREIGN KEY (message_id) REFERENCES notifications.message (id) ON DELETE CASCADE,
    CONSTRAINT sms_receipt_status_is_known CHECK (status IN ('delivered', 'undelivered'))
);
COMMENT ON TABLE notifications.sms_receipt IS 'The last word of a gateway on a text message that it had taken: whether a phone has it. It belongs to the proof of delivery; the message''s own state says that the gateway took it.';
GRANT SELECT, INSERT, UPDATE ON notifications.sms_receipt TO trangtien_notifications;
