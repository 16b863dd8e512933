-- Words that go with payments and refunds are sealed under the keys of who wrote them. Rows from before are sealed by a task, beside
-- everything else.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.payment ADD COLUMN note_sealed bytea;
COMMENT ON COLUMN wallet.payment.note IS 'Only in rows from before note_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.payment.note_sealed IS 'The payer''s word to the merchant, sealed under the payer''s key.';
CREATE INDEX payment_unsealed_ix ON wallet.payment (id) WHERE note IS NOT NULL;
GRANT UPDATE (note_sealed) ON wallet.payment TO trangtien_wallet;

ALTER TABLE wallet.refund ADD COLUMN reason_sealed bytea;
COMMENT ON COLUMN wallet.refund.reason IS 'Only in rows from before reason_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.refund.reason_sealed IS 'The word of who gave the money back, sealed under their key.';
CREATE INDEX refund_unsealed_ix ON wallet.refund (id) WHERE reason IS NOT NULL;
GRANT UPDATE (reason_sealed) ON wallet.refund TO trangtien_wallet;

-- Nothing else of these rows ever changes.
CREATE FUNCTION wallet.only_seal_or_erase() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    plain  text := TG_ARGV[0];
    sealed text := TG_ARGV[0] || '_sealed';
    before jsonb := to_jsonb(OLD);
    after  jsonb := to_jsonb(NEW);
BEGIN
    IF after - plain - sealed = before - plain - sealed AND after -> plain = 'null'
        AND (after -> sealed IN ('null', before -> sealed) OR (before -> plain <> 'null' AND before -> sealed = 'null'))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'rows of %.% are never changed', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END;
$$;
COMMENT ON FUNCTION wallet.only_seal_or_erase() IS 'Lets a word that stands plain be sealed once, and any be removed; refuses every other change of its row.';
DROP TRIGGER payment_erased_only ON wallet.payment;
CREATE TRIGGER payment_word_only BEFORE UPDATE ON wallet.payment FOR EACH ROW EXECUTE FUNCTION wallet.only_seal_or_erase('note');
DROP TRIGGER refund_erased_only ON wallet.refund;
CREATE TRIGGER refund_word_only BEFORE UPDATE ON wallet.refund FOR EACH ROW EXECUTE FUNCTION wallet.only_seal_or_erase('reason');
DROP FUNCTION wallet.only_erase();
