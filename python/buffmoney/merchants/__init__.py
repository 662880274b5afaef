"""Who uses BuffMoney: merchants, their two tenants (sandbox and live), where the tenants' billing periods begin, and API keys.

Owns `merchants`, `tenants`, `tenant_period_settings` and `api_keys`, and writes a new tenant's built-in `metrics`. Does not own what a
tenant sells or who its customers are. Invariants: sandbox and live share no row that carries a tenant_id; a key is kept only as a hash
under a pepper that is not in the database; a revoked key never works again; a billing period that has begun never changes. Idempotency:
making a merchant or key twice makes two; the API's Idempotency-Key covers retries; the same billing period again changes nothing. Every
function works in the caller's transaction, so a crash leaves all of it or nothing.
"""
