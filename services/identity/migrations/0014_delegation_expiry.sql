-- Both sides are told once that the date of a delegation has come.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.delegation
    ADD COLUMN expiry_told_at timestamptz,
    ADD CONSTRAINT delegation_told_when_over CHECK (expiry_told_at IS NULL OR expiry_told_at >= valid_until);
COMMENT ON COLUMN identity.delegation.expiry_told_at IS 'When both sides were told that its time is over; none while it lasts, and where one of them ended it before.';
-- Those that were over before are nobody's news.
UPDATE identity.delegation SET expiry_told_at = now()
WHERE confirmed_at IS NOT NULL AND ended_at IS NULL AND valid_until <= now();
CREATE INDEX delegation_to_expire ON identity.delegation (valid_until)
    WHERE confirmed_at IS NOT NULL AND ended_at IS NULL AND expiry_told_at IS NULL;

GRANT UPDATE (expiry_told_at) ON identity.delegation TO trangtien_identity;
