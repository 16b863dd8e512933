-- Signed checkpoints: what the city says in public about its books at the end of each day.
--
-- Both tables are history: they are only ever added to.

SET LOCAL lock_timeout = '5s';

CREATE TABLE ledger.checkpoint (
    block  bigint   NOT NULL,
    day    date     NOT NULL,
    shard  smallint NOT NULL,
    note   text     NOT NULL,
    signer text     NOT NULL,
    CONSTRAINT checkpoint_pkey PRIMARY KEY (shard, day),
    CONSTRAINT checkpoint_block_key UNIQUE (shard, block),
    CONSTRAINT checkpoint_block_positive CHECK (block > 0),
    CONSTRAINT checkpoint_note_bounded CHECK (length(note) BETWEEN 1 AND 4096 AND length(signer) BETWEEN 1 AND 1024)
);
COMMENT ON TABLE ledger.checkpoint IS 'One per shard and day of the city with blocks: the last block it covers, the signed note about all blocks up to it, and the public key of who signed. History.';

CREATE TABLE ledger.block_tree (
    place bigint   NOT NULL,
    shard smallint NOT NULL,
    level smallint NOT NULL,
    hash  bytea    NOT NULL,
    CONSTRAINT block_tree_pkey PRIMARY KEY (shard, level, place),
    CONSTRAINT block_tree_place CHECK (level BETWEEN 1 AND 7 AND place >= 0),
    CONSTRAINT block_tree_hash_length CHECK (length(hash) = 32)
);
COMMENT ON TABLE ledger.block_tree IS 'Inner nodes of the RFC 6962 tree over all blocks of a shard: the head of the full subtree of 256^level leaves at a place. Written when a checkpoint is made. History.';

CREATE TRIGGER checkpoint_immutable BEFORE UPDATE OR DELETE ON ledger.checkpoint FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER checkpoint_kept BEFORE TRUNCATE ON ledger.checkpoint FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER block_tree_immutable BEFORE UPDATE OR DELETE ON ledger.block_tree FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER block_tree_kept BEFORE TRUNCATE ON ledger.block_tree FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

GRANT SELECT, INSERT ON ledger.checkpoint, ledger.block_tree TO trangtien_wallet;
