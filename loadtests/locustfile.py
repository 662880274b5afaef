"""Load users for a deployment of one's own: ingest, balance and hold.

    export BUFFMONEY_API_KEY=bm_test_…
    locust --locustfile loadtests/locustfile.py --host https://billing.example.com
    locust --locustfile loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -r 10 -t 30s IngestUser

BUFFMONEY_API_KEY names the tenant (take a sandbox key), BUFFMONEY_URL stands in for --host, BUFFMONEY_CUSTOMERS (1000) is how many
customers the load spreads over. A tenant without a rate card gets one first, and every customer that a user meets gets a grant. Whatever
is not the expected answer counts as a failure, a 200 with rejected events too. `make loadtest` runs all users for 30 s, against
BUFFMONEY_URL if it is set and else against a `buffmoney up` of its own.
"""

from __future__ import annotations

import os
import random
import secrets
from datetime import UTC, datetime
from typing import Any

from locust import FastHttpUser, between, constant, events, task
from locust.env import Environment

API_KEY = os.environ.get("BUFFMONEY_API_KEY", "")
CUSTOMERS = int(os.environ.get("BUFFMONEY_CUSTOMERS", "1000"))
MODELS = ("gpt-4o", "deepseek-v3", "qwen-max", "claude-sonnet")
EVENTS_PER_BATCH = 500
GRANT = {"amount": "10000", "currency": "CNY", "kind": "paid"}
RATE_CARD = {
    "name": "load test",
    "currency": "CNY",
    "charges": [{"metric": "tokens_input", "per": "1000000", "price": "4"}, {"metric": "tokens_output", "per": "1000000", "price": "16"}],
}
granted: set[str] = set()


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def refuse_to_start_without_a_key(environment: Environment, **_: Any) -> None:
    """Stops before the first request if no key is set."""
    if not API_KEY and environment.runner is not None:
        environment.runner.quit()
        raise SystemExit("BUFFMONEY_API_KEY is not set")


class Customer(FastHttpUser):
    """What the users have in common: the key, and customers with money."""

    abstract = True
    host = os.environ.get("BUFFMONEY_URL", "http://127.0.0.1:8000")
    default_headers = {"Authorization": f"Bearer {API_KEY}"}  # noqa: RUF012 - locust declares it so

    def on_start(self) -> None:
        """Makes a rate card if the tenant has none."""
        with self.rest("GET", "/v1/rate-cards", name="GET /v1/rate-cards") as answer:
            if answer.status_code == 200 and not answer.js["data"]:
                self.client.post(
                    "/v1/rate-cards", json=RATE_CARD, headers={"Idempotency-Key": "load-test-card"}, name="POST /v1/rate-cards"
                )

    def funded(self) -> str:
        """A customer at random, with a grant."""
        customer = f"load-{random.randrange(CUSTOMERS):06d}"
        if customer not in granted:
            granted.add(customer)
            self.client.post(
                f"/v1/customers/{customer}/grants",
                json=GRANT,
                headers={"Idempotency-Key": f"load-{customer}"},
                name="POST /v1/customers/[id]/grants",
            )
        return customer


class IngestUser(Customer):
    """Posts batches of 500 events, without a pause."""

    weight = 4
    wait_time = constant(0)

    @task
    def ingest(self) -> None:
        """250 requests to a model: an input and an output event each."""
        moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        batch = secrets.token_hex(8)
        found = []
        for request in range(EVENTS_PER_BATCH // 2):
            customer, model = f"load-{random.randrange(CUSTOMERS):06d}", random.choice(MODELS)
            for metric, quantity in (("tokens_input", random.randint(50, 8000)), ("tokens_output", random.randint(1, 1500))):
                found.append(
                    {
                        "customerExternalId": customer,
                        "idempotencyKey": f"{batch}-{request}-{metric}",
                        "metric": metric,
                        "quantity": str(quantity),
                        "occurredAt": moment,
                        "dimensions": {"model": model},
                    }
                )
        with self.client.post("/v1/usage-events", json={"events": found}, name="POST /v1/usage-events", catch_response=True) as answer:
            if answer.status_code in (429, 503):
                answer.failure(f"{answer.status_code}, retry after {answer.headers.get('Retry-After')} s")
            elif answer.status_code != 200:
                answer.failure(f"{answer.status_code} {answer.text[:200]}")
            elif answer.json()["accepted"] != EVENTS_PER_BATCH:
                answer.failure(f"{answer.json()['rejected']} events rejected: {answer.json()['results'][:1]}")

    def on_start(self) -> None:
        """Funds every customer that the batches name; the other users of this process need not do it again."""
        super().on_start()
        for number in range(CUSTOMERS):
            customer = f"load-{number:06d}"
            if customer not in granted:
                granted.add(customer)
                self.client.post(
                    f"/v1/customers/{customer}/grants",
                    json=GRANT,
                    headers={"Idempotency-Key": f"load-{customer}"},
                    name="POST /v1/customers/[id]/grants",
                )


class BalanceUser(Customer):
    """Reads a balance about ten times a second."""

    weight = 3
    wait_time = between(0.05, 0.15)

    @task
    def read(self) -> None:
        """One balance."""
        self.client.get(f"/v1/customers/{self.funded()}/balance", name="GET /v1/customers/[id]/balance")


class HoldUser(Customer):
    """Holds an amount, then captures a part of it or, one time in ten, releases it."""

    weight = 3
    wait_time = between(0.05, 0.15)

    @task
    def hold(self) -> None:
        """One hold and its end."""
        content = {"amount": "0.05", "ttlSeconds": 60}
        with self.rest("POST", f"/v1/customers/{self.funded()}/holds", json=content, name="POST /v1/customers/[id]/holds") as answer:
            if answer.status_code not in (200, 201):
                answer.failure(f"{answer.status_code} {(answer.text or '')[:200]}")  # type: ignore[no-untyped-call]
                return
            hold_id = answer.js["holdId"]
        if random.random() < 0.1:
            self.client.post(f"/v1/holds/{hold_id}/release", json={}, name="POST /v1/holds/[id]/release")
        else:
            self.client.post(f"/v1/holds/{hold_id}/capture", json={"amount": "0.03"}, name="POST /v1/holds/[id]/capture")
