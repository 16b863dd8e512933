-- Customers at billers are known by a keyed digest; their codes, and what citizens call them, stand sealed under the keys of those who
-- linked or paid. Rows from before are brought over by a task, beside everything else.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.bill_customer (
    id          uuid        NOT NULL,
    biller_code text        NOT NULL,
    lookup      bytea,
    created_at  timestamptz NOT NULL,
    CONSTRAINT bill_customer_pk PRIMARY KEY (id),
    CONSTRAINT bill_customer_lookup_uq UNIQUE (biller_code, lookup),
    CONSTRAINT bill_customer_lookup_ck CHECK (octet_length(lookup) = 32)
);
COMMENT ON TABLE wallet.bill_customer IS 'A customer of a biller, to whom bills and links refer. Whoever changes what refers to it locks its row first.';
COMMENT ON COLUMN wallet.bill_customer.lookup IS 'Keyed digest of the biller and the customer''s code there; none once nobody is left who had linked it: it is never found again.';
GRANT SELECT, INSERT ON wallet.bill_customer TO trangtien_wallet;
GRANT UPDATE (lookup) ON wallet.bill_customer TO trangtien_wallet;

ALTER TABLE wallet.bill_subscription
    ALTER COLUMN customer_code DROP NOT NULL,
    ADD COLUMN customer_id uuid,
    ADD COLUMN customer_code_sealed bytea,
    ADD COLUMN label_sealed bytea,
    ADD CONSTRAINT bill_subscription_linked_uq UNIQUE (user_id, customer_id),
    ADD CONSTRAINT bill_subscription_customer_fk FOREIGN KEY (customer_id) REFERENCES wallet.bill_customer (id),
    ADD CONSTRAINT bill_subscription_sealed_ck CHECK (customer_code IS NOT NULL OR (customer_id IS NOT NULL AND customer_code_sealed IS NOT NULL));
COMMENT ON COLUMN wallet.bill_subscription.customer_code IS 'Only in rows from before customer_code_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.bill_subscription.customer_code_sealed IS 'The customer''s code at the biller, sealed under the citizen''s key.';
COMMENT ON COLUMN wallet.bill_subscription.label IS 'Only in rows from before label_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.bill_subscription.label_sealed IS 'What the citizen calls the customer, sealed under their key.';
CREATE INDEX bill_subscription_customer_ix ON wallet.bill_subscription (customer_id, id) WHERE customer_id IS NOT NULL;
CREATE INDEX bill_subscription_unsealed_ix ON wallet.bill_subscription (biller_code, customer_code) WHERE customer_code IS NOT NULL;
GRANT UPDATE (customer_id, customer_code, customer_code_sealed, label, label_sealed) ON wallet.bill_subscription TO trangtien_wallet;

-- References may be long: a biller's may carry the customer's code, in whose place the customer's id stands here.
ALTER TABLE wallet.bill
    ALTER COLUMN customer_code DROP NOT NULL,
    ADD COLUMN customer_id uuid,
    ADD CONSTRAINT bill_customer_fk FOREIGN KEY (customer_id) REFERENCES wallet.bill_customer (id),
    ADD CONSTRAINT bill_customer_ck CHECK (customer_id IS NULL OR customer_code IS NULL),
    DROP CONSTRAINT bill_reference_ck,
    ADD CONSTRAINT bill_reference_ck CHECK (length(reference) BETWEEN 1 AND 1024);
COMMENT ON COLUMN wallet.bill.customer_id IS 'Whose bill it is, at the biller.';
COMMENT ON COLUMN wallet.bill.customer_code IS 'Of a fee, its procedure. Else only in rows from before customer_id, until they are brought over.';
COMMENT ON COLUMN wallet.bill.reference IS 'The biller''s name for the bill. Where that, or a text of details, has the customer''s code, the customer''s id stands in its place.';
CREATE INDEX bill_of_customer_ix ON wallet.bill (customer_id, due_on, id) WHERE customer_id IS NOT NULL;
CREATE INDEX bill_unsealed_ix ON wallet.bill (biller_code, customer_code) WHERE customer_code IS NOT NULL AND kind <> 'fee';
GRANT UPDATE (customer_id, reference) ON wallet.bill TO trangtien_wallet;

ALTER TABLE wallet.bill_payment
    ALTER COLUMN customer_code DROP NOT NULL,
    ALTER COLUMN reference DROP NOT NULL,
    ADD COLUMN customer_code_sealed bytea,
    ADD COLUMN reference_sealed bytea;
COMMENT ON COLUMN wallet.bill_payment.customer_code IS 'Of a fee, its procedure. Else only in rows from before customer_code_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.bill_payment.customer_code_sealed IS 'The customer''s code at the biller, sealed under the payer''s key.';
COMMENT ON COLUMN wallet.bill_payment.reference IS 'Of a fee, the agency''s name for it. Else only in rows from before reference_sealed, until they are sealed.';
COMMENT ON COLUMN wallet.bill_payment.reference_sealed IS 'The biller''s name for the bill, which may carry the customer''s code, sealed under the payer''s key.';
CREATE INDEX bill_payment_unsealed_ix ON wallet.bill_payment (id) WHERE reference IS NOT NULL AND kind <> 'fee';
GRANT UPDATE (customer_code, customer_code_sealed, reference, reference_sealed) ON wallet.bill_payment TO trangtien_wallet;
