-- What closing an account and erasing a citizen need: closings that stay known, shops that are closed, words that can be removed.
SET LOCAL lock_timeout = '5s';

-- A closing that was opened again stays known, so that a step of it that comes late closes nothing.
ALTER TABLE wallet.closing ADD COLUMN reopened_at timestamptz;
COMMENT ON TABLE wallet.closing IS 'Citizens whose account is being closed: nothing of theirs begins any more, and their account in the ledger is frozen. The newest closing of each.';
COMMENT ON COLUMN wallet.closing.reopened_at IS 'When everything was opened again; that closing closes nothing any more.';
GRANT UPDATE (reopened_at) ON wallet.closing TO trangtien_wallet;

-- An owner closes a shop: what the city owes it goes to the owner's wallet, and its account is closed in the same batch.
ALTER TABLE wallet.merchant
    ADD COLUMN closed_at timestamptz,
    ADD COLUMN payout_id uuid,
    ADD CONSTRAINT merchant_payout_ck CHECK (payout_id IS NULL OR closed_at IS NOT NULL);
COMMENT ON COLUMN wallet.merchant.closed_at IS 'When its owner closed it: it takes no money any more. Written in the batch that closes its account.';
COMMENT ON COLUMN wallet.merchant.payout_id IS 'The transfer that brought its money to the owner; none when there was no money.';
CREATE UNIQUE INDEX merchant_payout_uq ON wallet.merchant (payout_id) WHERE payout_id IS NOT NULL;
GRANT UPDATE (name, qr_name, closed_at, payout_id) ON wallet.merchant TO trangtien_wallet;
GRANT UPDATE (name, address) ON wallet.store TO trangtien_wallet;
GRANT UPDATE (name) ON wallet.till TO trangtien_wallet;

-- What a payer or a merchant wrote with a payment goes with whoever wrote it; nothing else of these rows ever changes.
CREATE FUNCTION wallet.only_erase() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) -> TG_ARGV[0] = 'null' AND to_jsonb(NEW) - TG_ARGV[0] = to_jsonb(OLD) - TG_ARGV[0] THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
DROP TRIGGER payment_append_only ON wallet.payment;
CREATE TRIGGER payment_append_only BEFORE DELETE OR TRUNCATE ON wallet.payment
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER payment_erased_only BEFORE UPDATE ON wallet.payment FOR EACH ROW EXECUTE FUNCTION wallet.only_erase('note');
DROP TRIGGER refund_append_only ON wallet.refund;
CREATE TRIGGER refund_append_only BEFORE DELETE OR TRUNCATE ON wallet.refund
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();
CREATE TRIGGER refund_erased_only BEFORE UPDATE ON wallet.refund FOR EACH ROW EXECUTE FUNCTION wallet.only_erase('reason');
GRANT UPDATE (note) ON wallet.payment TO trangtien_wallet;
GRANT UPDATE (reason) ON wallet.refund TO trangtien_wallet;
