-- Voids: an event that is taken back. The event itself stays as it was; its charge goes back by postings of the kind `void` (7), whose
-- reference is the event's key_hash. The rows' hashes are part of their commits' digests, so that nobody changes one unseen.

CREATE TABLE usage_voids (
    tenant_id            bigint NOT NULL,
    key_hash             uuid NOT NULL,                  -- of the event: it is voided once, and this key is the last arbiter
    idempotency_key      text COLLATE "C" NOT NULL,
    account_id           bigint NOT NULL,
    commit_id            bigint NOT NULL,                -- of the void
    voided_at            timestamptz NOT NULL,
    command_id           uuid NOT NULL,
    set_id               uuid,                           -- the digest of the set that it was voided with; NULL: alone
    voided_by            text COLLATE "C" NOT NULL CHECK (octet_length(voided_by) BETWEEN 1 AND 255),  -- the API key
    reason               text CHECK (octet_length(reason) BETWEEN 1 AND 255),
    event_commit_id      bigint NOT NULL,
    event_posting_seq    bigint NOT NULL CHECK (event_posting_seq >= 0),
    posting_seq          bigint NOT NULL CHECK (posting_seq >= 0),  -- the first posting that gives back; 0: nothing to give back
    metric_id            integer NOT NULL,
    price_id             integer NOT NULL,
    occurred_at          timestamptz NOT NULL,
    quantity             numeric(38, 9) NOT NULL CHECK (quantity > 0 AND quantity <> 'NaN'),
    charge               numeric(38, 9) NOT NULL CHECK (charge >= 0 AND charge <> 'NaN'),
    dimensions           text COLLATE "C" NOT NULL,
    parts                bytea NOT NULL,                 -- 32 bytes each: grant id (zero: overdraft), nano amount given back
    balance_after        numeric(38, 9) NOT NULL CHECK (balance_after <> 'NaN'),
    replaced_by          text COLLATE "C",               -- the idempotency key of the event that amends it
    replaced_fingerprint bigint,
    counter_before       numeric(38, 9) CHECK (counter_before >= quantity AND counter_before <> 'NaN'),  -- NULL: nothing is counted there
    PRIMARY KEY (tenant_id, key_hash),
    CHECK ((charge = 0) = (posting_seq = 0) AND (charge = 0) = (event_posting_seq = 0)),
    CHECK ((replaced_by IS NULL) = (replaced_fingerprint IS NULL))
);
-- Roll-ups and their tail take voids in by commit, like events.
CREATE INDEX usage_voids_commit ON usage_voids (commit_id);
CREATE UNIQUE INDEX usage_voids_replaced ON usage_voids (tenant_id, replaced_by) WHERE replaced_by IS NOT NULL;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON usage_voids FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON usage_voids EXECUTE FUNCTION refuse_change();

ALTER TABLE usage_voids ENABLE ROW LEVEL SECURITY;
ALTER TABLE usage_voids FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON usage_voids TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON usage_voids TO buffmoney_worker USING (true);
GRANT SELECT ON usage_voids TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT ON usage_voids TO buffmoney_core;
