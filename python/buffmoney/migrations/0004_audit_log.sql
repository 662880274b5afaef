-- The audit log: who changed what, one chain of entries for each tenant, never changed and never shortened.

CREATE TABLE audit_log (
    tenant_id   bigint NOT NULL REFERENCES tenants,
    seq         bigint NOT NULL CHECK (seq > 0),             -- without gaps
    at          timestamptz NOT NULL CHECK (isfinite(at)),
    actor_kind  text NOT NULL CHECK (actor_kind IN ('api_key', 'command_line', 'system')),
    actor       text COLLATE "C" NOT NULL CHECK (octet_length(actor) BETWEEN 1 AND 255),
    action      text COLLATE "C" NOT NULL CHECK (action ~ '^[a-z_]{1,32}\.[a-z_]{1,32}$'),
    object_kind text COLLATE "C" NOT NULL CHECK (object_kind ~ '^[a-z_]{1,32}$'),
    object_id   text COLLATE "C" NOT NULL CHECK (octet_length(object_id) BETWEEN 1 AND 255),
    before      jsonb CHECK (jsonb_typeof(before) = 'object'),  -- NULL: it was made
    after       jsonb CHECK (jsonb_typeof(after) = 'object'),   -- NULL: it is gone
    request_id  text NOT NULL CHECK (request_id ~ '^req_[0-9a-f]{32}$'),
    chain_hash  bytea NOT NULL CHECK (length(chain_hash) = 32), -- blake3 over the hash before and this entry
    PRIMARY KEY (tenant_id, seq),
    CHECK (before IS NOT NULL OR after IS NOT NULL)
);
CREATE INDEX audit_log_object ON audit_log (tenant_id, object_id, seq);

-- The newest entry of each tenant, signed: a chain that was cut off is valid in itself. Its row is also the lock under which entries are
-- written one after the other.
CREATE TABLE audit_heads (
    tenant_id  bigint PRIMARY KEY REFERENCES tenants,
    seq        bigint NOT NULL CHECK (seq >= 0),
    chain_hash bytea NOT NULL CHECK (length(chain_hash) = 32),
    mac        bytea NOT NULL CHECK (length(mac) = 32)       -- keyed blake3 over tenant, seq and hash
);

CREATE FUNCTION one_entry_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.tenant_id <> OLD.tenant_id OR NEW.seq <> OLD.seq + 1 THEN
        RAISE EXCEPTION '% goes on by one entry at a time: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit_log EXECUTE FUNCTION refuse_change();
CREATE TRIGGER one_entry_on BEFORE UPDATE ON audit_heads FOR EACH ROW EXECUTE FUNCTION one_entry_on();
CREATE TRIGGER append_only BEFORE DELETE ON audit_heads FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit_heads EXECUTE FUNCTION refuse_change();

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_log', 'audit_heads'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY one_tenant ON %I TO buffmoney_edge USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', name);
        EXECUTE format('CREATE POLICY all_tenants ON %I TO buffmoney_worker USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO buffmoney_edge, buffmoney_core, buffmoney_worker', name);
    END LOOP;
END $$;
GRANT INSERT ON audit_log TO buffmoney_edge;
GRANT UPDATE (seq, chain_hash, mac) ON audit_heads TO buffmoney_edge;
