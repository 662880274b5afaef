"""What things cost: metrics, products, their rate cards, the catalogue that the engine rates by, and what a card would have earned.

Owns `metrics`, `products`, `product_metrics`, `rate_cards`, `rate_card_charges`, `customer_rate_cards`, `usage_counters` (the names of
counters, not what they count) and, beside the merchants' settings, the growth of `tenants.catalog_version`. Does not own rating itself,
which is the engine's, nor charges already made: a published card is immutable, and every usage event names the line that priced it.
Drafts are nobody's prices: they are no part of the catalogue.

Invariants: no two lines of a published card are in one currency, equally specific, and could meet the same event; a metric is priced by
one product only; a product's first version also prices what happened before it was made, and no later one takes effect in the past, nor
does the assignment of a card to a customer, so a price once charged stays explainable; of one product, metric and match there is one
counter of units and one of what packages have left, for good, so that a version goes on with what the period has used and bought.
Idempotency key: the request's Idempotency-Key, stored with the answer in the card's own transaction; the same assignment again changes
nothing. A crash before the commit leaves nothing; one after it leaves a card or an assignment that the core finds at its next look at
`catalog_version`. A simulation reads stored events in one read-only snapshot and writes nothing, so there is nothing that a crash could
leave.
"""
