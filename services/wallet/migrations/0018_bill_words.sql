-- What a biller calls the period of a bill goes with whoever is erased.
SET LOCAL lock_timeout = '5s';

GRANT UPDATE (period) ON wallet.bill, wallet.bill_payment TO trangtien_wallet;
COMMENT ON COLUMN wallet.bill.period IS 'The biller''s name for the time that the bill is of, without the customer''s code; a dash once nobody is left whose it was.';
COMMENT ON COLUMN wallet.bill_payment.period IS 'As the bill''s; a dash once the payer was erased, but for fees.';
COMMENT ON COLUMN wallet.bill_payment.biller_reference IS 'The biller''s receipt number; none once the payer was erased, but for fees: the biller still knows the payment by our id.';
COMMENT ON COLUMN wallet.bill_payment.reason IS 'Why it failed: our code or the biller''s words; of those only a code stays once the payer was erased.';

-- Of those who were erased before.
UPDATE wallet.bill_payment AS payment SET biller_reference = NULL, period = '-',
    reason = CASE WHEN reason ~ '^[a-z]+(-[a-z]+)*$' THEN reason WHEN reason IS NOT NULL THEN 'erased' END
FROM wallet.person_key AS gone
WHERE gone.person = payment.user_id AND gone.destroyed_at IS NOT NULL AND payment.kind <> 'fee';
UPDATE wallet.bill SET reference = bill.id::text, period = '-'
FROM wallet.bill_customer AS nobodys
WHERE nobodys.id = bill.customer_id AND nobodys.lookup IS NULL;
