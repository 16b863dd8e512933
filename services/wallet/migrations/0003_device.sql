-- Since when each citizen uses which device: a device that was bound a short while ago may move less.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.device (
    user_id    uuid        NOT NULL,
    device_id  uuid        NOT NULL,
    session_id uuid        NOT NULL,
    bound_at   timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT device_pk PRIMARY KEY (user_id, device_id)
);
COMMENT ON TABLE wallet.device IS 'Devices of citizens, from the events of identity: since when they are bound, and the session that runs on each. A session that is not here counts as one on a new device.';
GRANT SELECT, INSERT, UPDATE, DELETE ON wallet.device TO trangtien_wallet;
