-- From where else something was refused: beside how often, by the address of the later tries.
--
-- A process of an earlier version counts without it: its tries count as such from further addresses.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.refusal
    ADD COLUMN places jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT refusal_places_bounded CHECK (jsonb_typeof(places) = 'object' AND octet_length(places::text) <= 4000);
COMMENT ON COLUMN identity.refusal.places IS
    'How many of those after the first came from where: keyed digests of at most 16 network addresses, as in identity.audit.place.';
