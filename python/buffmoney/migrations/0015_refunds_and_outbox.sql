-- Refunds of credit, and wallet commands that follow from a transaction.

-- ---------------------------------------------------------------- refunds

-- Every row there is was checked by the narrower rule.
ALTER TABLE postings DROP CONSTRAINT postings_kind_check, ADD CONSTRAINT postings_kind_check CHECK (kind BETWEEN 1 AND 11) NOT VALID;
INSERT INTO posting_kinds VALUES (11, 'refund');
UPDATE system_accounts SET description = 'what was collected, or is to be, for paid grants, less what was refunded'
WHERE code = 'paid_credit_funding';

-- ---------------------------------------------------------------- the outbox

-- A wallet command is enqueued in the transaction that it follows from, and applied by the core after that. The result is set once, from
-- the core's answer: applied_at if it was done, refused with the core's code if it was not and never will be.
CREATE TABLE wallet_outbox (
    tenant_id  bigint NOT NULL REFERENCES tenants,
    command_id uuid NOT NULL,                            -- 128 bits of blake3 over tenant and source
    source     text COLLATE "C" NOT NULL CHECK (octet_length(source) BETWEEN 1 AND 255),
    customer   text COLLATE "C" NOT NULL CHECK (octet_length(customer) BETWEEN 1 AND 255),
    command    jsonb NOT NULL CHECK (jsonb_typeof(command) = 'object'),
    created_at timestamptz NOT NULL CHECK (isfinite(created_at)),
    applied_at timestamptz CHECK (isfinite(applied_at)),
    result     jsonb CHECK (jsonb_typeof(result) = 'object'),  -- the core's answer; NULL: not known yet
    refused    text COLLATE "C",
    next_at    timestamptz NOT NULL CHECK (isfinite(next_at)), -- when a worker tries next
    attempts   integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),  -- of workers
    PRIMARY KEY (tenant_id, command_id),
    CHECK (num_nonnulls(applied_at, refused) = num_nonnulls(result))
);
CREATE INDEX wallet_outbox_due ON wallet_outbox (next_at) WHERE result IS NULL;

CREATE FUNCTION decide_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.result IS NOT NULL THEN
        RAISE EXCEPTION 'command % is decided: % refused', OLD.command_id, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER decide_once BEFORE UPDATE ON wallet_outbox FOR EACH ROW EXECUTE FUNCTION decide_once();
CREATE TRIGGER append_only BEFORE UPDATE OF tenant_id, command_id, source, customer, command, created_at OR DELETE ON wallet_outbox
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON wallet_outbox EXECUTE FUNCTION refuse_change();

ALTER TABLE wallet_outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE wallet_outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY one_tenant ON wallet_outbox TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());
CREATE POLICY all_tenants ON wallet_outbox TO buffmoney_worker USING (true);
GRANT SELECT ON wallet_outbox TO buffmoney_edge, buffmoney_core, buffmoney_worker;
GRANT INSERT, UPDATE (applied_at, result, refused, next_at, attempts) ON wallet_outbox TO buffmoney_edge, buffmoney_worker;
