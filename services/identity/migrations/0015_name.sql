-- What citizens call their devices and passkeys is sealed under their own key. Rows from before are sealed by a task, beside everything else.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.device
    ALTER COLUMN name DROP NOT NULL,
    ADD COLUMN name_sealed bytea,
    ADD CONSTRAINT device_name_there CHECK (name IS NOT NULL OR name_sealed IS NOT NULL),
    ADD CONSTRAINT device_name_sealed_length CHECK (octet_length(name_sealed) <= 512);
COMMENT ON COLUMN identity.device.name IS 'Only in rows that a version before name_sealed wrote, until it is sealed; as long as it is there, it is the newer one.';
COMMENT ON COLUMN identity.device.name_sealed IS 'What its citizen calls it, sealed under their key.';
CREATE INDEX device_unsealed ON identity.device (citizen_id, id) WHERE name IS NOT NULL;

ALTER TABLE identity.passkey
    ALTER COLUMN name DROP NOT NULL,
    ADD COLUMN name_sealed bytea,
    ADD CONSTRAINT passkey_name_there CHECK (name IS NOT NULL OR name_sealed IS NOT NULL),
    ADD CONSTRAINT passkey_name_sealed_length CHECK (octet_length(name_sealed) <= 512);
COMMENT ON COLUMN identity.passkey.name IS 'Only in rows that a version before name_sealed wrote, until it is sealed.';
COMMENT ON COLUMN identity.passkey.name_sealed IS 'What its citizen calls it, sealed under their key.';
CREATE INDEX passkey_unsealed ON identity.passkey (citizen_id, id) WHERE name IS NOT NULL;

GRANT UPDATE (name, name_sealed) ON identity.passkey TO trangtien_identity;
