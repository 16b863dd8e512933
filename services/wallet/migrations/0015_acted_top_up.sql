-- A guardian tops up the wallet of somebody for whom they act: who asked for it is kept beside it.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.top_up
    ADD COLUMN actor_id uuid,
    ADD COLUMN delegation_id uuid,
    ADD CONSTRAINT top_up_acting_ck CHECK ((actor_id IS NULL) = (delegation_id IS NULL)),
    ADD CONSTRAINT top_up_two_people_ck CHECK (actor_id <> user_id);
COMMENT ON COLUMN wallet.top_up.actor_id IS 'The guardian who asked for it, from an account of theirs; none where the citizen did.';
COMMENT ON COLUMN wallet.top_up.delegation_id IS 'By which delegation.';
