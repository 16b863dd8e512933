-- Fees of public services: a notice is a bill that an agency addresses to a citizen, and is paid as one.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallet.bill
    DROP CONSTRAINT bill_kind_ck,
    ADD COLUMN user_id uuid,
    ADD CONSTRAINT bill_kind_ck CHECK (kind IN ('electricity', 'water', 'fee')),
    ADD CONSTRAINT bill_addressee_ck CHECK ((kind = 'fee') = (user_id IS NOT NULL));
CREATE INDEX bill_addressee_ix ON wallet.bill (user_id, due_on, id) WHERE user_id IS NOT NULL;
COMMENT ON COLUMN wallet.bill.user_id IS 'The citizen to whom a notice of a fee is addressed; bills of billers have none, they belong to their customer.';

CREATE TABLE wallet.fee_notice (
    bill_id      uuid        NOT NULL,
    client_id    uuid        NOT NULL,
    agency       text        NOT NULL,
    procedure    text        NOT NULL,
    channel      text        NOT NULL,
    issued_at    timestamptz NOT NULL,
    cancelled_at timestamptz,
    CONSTRAINT fee_notice_pk PRIMARY KEY (bill_id),
    CONSTRAINT fee_notice_bill_fk FOREIGN KEY (bill_id) REFERENCES wallet.bill (id),
    CONSTRAINT fee_notice_channel_ck CHECK (channel IN ('counter', 'online', 'post'))
);
CREATE INDEX fee_notice_agency_ix ON wallet.fee_notice (agency, bill_id);
COMMENT ON TABLE wallet.fee_notice IS 'What an agency asks a citizen to pay for a procedure: the other half of its bill. Who issued it, and whether it took it back.';
GRANT SELECT, INSERT ON wallet.fee_notice TO trangtien_wallet;
GRANT UPDATE (cancelled_at) ON wallet.fee_notice TO trangtien_wallet;
