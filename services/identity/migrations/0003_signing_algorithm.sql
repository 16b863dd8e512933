-- Keys of RS256 beside those of Ed25519: RFC 9068 wants it offered, and ID tokens will be signed with it by default.

SET LOCAL lock_timeout = '5s';

ALTER TABLE identity.signing_key DROP CONSTRAINT signing_key_algorithm_known;
ALTER TABLE identity.signing_key ADD CONSTRAINT signing_key_algorithm_known CHECK (algorithm IN ('EdDSA', 'RS256'));
COMMENT ON COLUMN identity.signing_key.public_key IS 'EdDSA: the raw public key. RS256: RSAPublicKey (RFC 8017, appendix A.1.1), DER.';
