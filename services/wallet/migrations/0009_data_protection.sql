-- What an erasure of a citizen removes or overwrites, and who is on their way to it.
SET LOCAL lock_timeout = '5s';

GRANT DELETE ON wallet.citizen TO trangtien_wallet;
GRANT UPDATE (customer_code) ON wallet.bill, wallet.bill_payment TO trangtien_wallet;

CREATE TABLE wallet.closing (
    user_id    uuid        NOT NULL,
    closing_id uuid        NOT NULL,
    closed_at  timestamptz NOT NULL,
    CONSTRAINT closing_pk PRIMARY KEY (user_id)
);
COMMENT ON TABLE wallet.closing IS 'Citizens whose account is being closed: nothing of theirs begins any more, and their account in the ledger is frozen. Taken back by removing the row.';
GRANT SELECT, INSERT, DELETE ON wallet.closing TO trangtien_wallet;
