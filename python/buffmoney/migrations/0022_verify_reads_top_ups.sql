-- `ledger verify`, which reads as the core, compares bonuses and what refunds took with the wallets.
GRANT SELECT ON top_ups TO buffmoney_core;
