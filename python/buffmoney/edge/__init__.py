"""The HTTP side of BuffMoney: from a socket to a handler's `Call`, and from its `Answer` or `Problem` back.

Owns: the route table (made of the packages' `ROUTES`), API key checks, limits on what a request may cost, request idempotency,
problem+json, OpenAPI, health and metrics. Of the tables it owns `idempotent_requests`.
Owns not: any rule about money, usage or prices. It sees no amount.
Invariants: nothing is read into memory beyond the limits; an error never shows a stack trace; 2xx is only sent for what is durable.
Idempotency key: (tenant, Idempotency-Key) for stored answers; wallet commands carry theirs to the core.
A crash leaves nothing behind: an edge has no state of its own, and a client that repeats a request gets the original outcome.
"""
