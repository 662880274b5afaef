-- Pay-as-you-go accrues: what a customer's grants do not cover is owed on an account of its own until an invoice takes it over.

-- What the customer owes unbilled after each posting. The columns come after all others, and the core leaves the first out of COPY where
-- nothing is owed, so that nothing changes for those who pay before.
ALTER TABLE postings
    ADD COLUMN unbilled_after numeric(38, 9) NOT NULL DEFAULT 0,
    ADD CONSTRAINT postings_unbilled_after_check CHECK (unbilled_after >= 0 AND unbilled_after <> 'NaN') NOT VALID;
ALTER TABLE usage_voids
    ADD COLUMN unbilled_after numeric(38, 9) NOT NULL DEFAULT 0 CHECK (unbilled_after >= 0 AND unbilled_after <> 'NaN');

-- A customer owns three accounts: account_id (even) is the wallet, account_id + 1 what is on hold, -account_id what is owed unbilled.
CREATE OR REPLACE VIEW chart_of_accounts WITH (security_invoker = true) AS
    SELECT NULL::bigint AS tenant_id, account_id, code, class, NULL::text AS customer_external_id FROM system_accounts
    UNION ALL SELECT tenant_id, account_id, 'customer_wallet', 'liability', external_id FROM customers
    UNION ALL SELECT tenant_id, account_id + 1, 'customer_held', 'liability', external_id FROM customers
    UNION ALL SELECT tenant_id, -account_id, 'customer_unbilled', 'asset', external_id FROM customers;
