-- What guardians spent for others, so that the limits of a delegation are counted, and so that everybody sees who acted.

SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet.delegated_spending (
    reference     uuid        NOT NULL,
    delegation_id uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    actor_id      uuid        NOT NULL,
    kind          text        NOT NULL,
    amount        bigint      NOT NULL,
    spent_on      date        NOT NULL,
    booked_at     timestamptz NOT NULL,
    released_at   timestamptz,
    CONSTRAINT delegated_spending_pk PRIMARY KEY (reference),
    CONSTRAINT delegated_spending_two_people CHECK (user_id <> actor_id),
    CONSTRAINT delegated_spending_kind_known CHECK (kind IN ('merchant', 'bill', 'fee')),
    CONSTRAINT delegated_spending_amount_positive CHECK (amount > 0)
);
COMMENT ON TABLE wallet.delegated_spending IS 'Payments that a guardian made for somebody, counted before the money moves, in the turn of whose money it is.';
COMMENT ON COLUMN wallet.delegated_spending.reference IS 'The payment to a merchant, or the payment of a bill. One of a bill that failed does not count.';
COMMENT ON COLUMN wallet.delegated_spending.spent_on IS 'The city''s day.';
COMMENT ON COLUMN wallet.delegated_spending.released_at IS 'When the payment was refused for good: from then on it does not count.';
CREATE INDEX delegated_spending_of_delegation ON wallet.delegated_spending (delegation_id, spent_on);

GRANT SELECT, INSERT ON wallet.delegated_spending TO trangtien_wallet;
GRANT UPDATE (spent_on, booked_at, released_at) ON wallet.delegated_spending TO trangtien_wallet;
