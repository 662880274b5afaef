"""`python -m benches.readme`: puts the figures of benches/results/latest.json into the README, between its two markers."""

from __future__ import annotations

import json
from collections.abc import Mapping

from benches.hardware import ROOT

RESULTS = ROOT / "benches" / "results" / "latest.json"
README = ROOT / "README.md"
START, END = "<!-- figures of make bench -->", "<!-- end of figures -->"
Value = float | str
ROWS: tuple[tuple[str, str, str], ...] = (
    (
        "Ingest over HTTP, durable, 500-event batches, 1,000 customers",
        "{ingest_events_per_s:,} events/s = {ingest_ratio} of bare COPY",
        "≥ 0.5",
    ),
    (
        "The same, 100,000 customers, each event its own",
        "{ingest_events_per_s_many_customers:,} events/s = {ingest_ratio_many_customers} of bare COPY",
        "≥ 0.35",
    ),
    ("The same, one single customer", "{ingest_events_per_s_hot_customer:,} events/s = {ingest_ratio_hot_customer} of bare COPY", "≥ 0.35"),
    (
        "1,000 customers whose lines have three tiers and an allowance, against plain prices in turn",
        "{tiered_ingest_events_per_s:,} events/s = {tiered_ingest_ratio} of plain",
        "≥ 0.9",
    ),
    (
        "The first again, 20 million keys stored before",
        "{growth_ingest_events_per_s:,} events/s = {growth_ratio_20m} of bare COPY there",
        "≥ 0.5",
    ),
    ("Bare COPY of the same rows, one connection, keys as they arrive", "{copy_events_per_s:,} events/s", "the yardstick"),
    ("Bare COPY with each group's keys in order, as the engine writes them", "{copy_sorted_events_per_s:,} events/s", ""),
    (
        "Ingest at half of its maximum at that size, {half_batches_per_s:.0f} batches/s: answer to a batch, p50, p99",
        "{batch_p50_ms_half:.1f}, {batch_p99_ms_half:.1f} ms",
        "p99 ≤ 100 ms",
    ),
    ("Balance read meanwhile, p50, p99", "{balance_p50_ms_half:.1f}, {balance_p99_ms_half:.1f} ms", "p99 ≤ 5 ms"),
    ("Balance read at full ingest, p50, p99", "{balance_p50_ms_full:.1f}, {balance_p99_ms_full:.1f} ms", "p99 ≤ 15 ms"),
    ("Holds, each with its capture", "{hold_pairs_per_s:,} pairs/s, p99 {hold_pair_p99_ms:.0f} ms for the pair", "≥ 1,500, ≤ 50 ms"),
    ("Whole-batch retries against new batches", "{retry_storm_ratio} times the rate", "≥ 2"),
    ("Engine alone: decode, validate, hash", "{decode_events_per_s:,} events/s a core", "≥ 1,500,000"),
    ("Engine alone: rate, deduct, encode", "{rate_events_per_s:,} events/s a core", "≥ 3,000,000"),
    ("The same with a card of 1,000 lines, four pricing models", "{rate_events_per_s_1000_lines:,} events/s a core", "≥ 2,000,000"),
    (
        "1,000 lines with five tiers each, half of them with an allowance; a customer uses eight of them",
        "{rate_events_per_s_1000_lines_tiered:,} events/s a core",
        "≥ 2,000,000",
    ),
    (
        "The same, each of 1,000 customers uses all lines: a million counters",
        "{rate_events_per_s_1000_lines_tiered_all_used:,} events/s a core",
        "",
    ),
    (
        "1,000 lines of volume tiers, settled at the period's end, half of them with a minimum; a customer uses eight",
        "{rate_events_per_s_1000_lines_volume:,} events/s a core",
        "",
    ),
    (
        "A rate card over stored events, reading them from the database included",
        "{simulate_events_per_core_s:,} events/s a core, {simulate_events_per_s:,} events/s on the clock",
        "≥ 500,000 a core",
    ),
    (
        "TypeScript SDK, one Node process: `ingest` against a bare `fetch` of bodies made before, in turn",
        "{sdk_events_per_s:,} events/s = {sdk_fetch_ratio} of bare",
        "≥ 0.8",
    ),
    ("Its buffer, on top of the encoding of an event", "{sdk_buffer_us_per_event} µs", "≤ 2 µs"),
    (
        "Payment callbacks of four merchants, half of them with a bonus: verified, booked, committed; answer p50, p99",
        "{callbacks_per_s:,}/s, {callback_p50_ms:.1f}, {callback_p99_ms:.1f} ms",
        "≥ 200/s, p99 ≤ 200 ms",
    ),
    (
        "Their credits in the balance, from the commit on, p50, p99",
        "{credit_readable_p50_ms:.1f}, {credit_readable_p99_ms:.1f} ms",
        "p99 ≤ 100 ms",
    ),
    (
        "Callbacks of one single merchant: answer p99, credits in the balance p99",
        "{callbacks_per_s_single_merchant:,}/s, {callback_p99_ms_single_merchant:.1f}, {credit_readable_p99_ms_single_merchant:.1f} ms",
        "≥ 200/s, ≤ 200, ≤ 100 ms",
    ),
    (
        "The most callbacks, as fast as answers come: four merchants, one",
        "{callbacks_per_s_most:,}/s, {callbacks_per_s_most_single_merchant:,}/s",
        "",
    ),
    (
        "Checkout page with style, script and icon, without the code",
        "{checkout_page_kb} kB, gzipped {checkout_page_gzipped_kb} kB",
        "≤ 50 kB",
    ),
    (
        "The page beside half of those callbacks, p50, p99; of every other one the channel is asked",
        "{checkout_page_p50_ms:.1f}, {checkout_page_p99_ms:.1f} ms",
        "",
    ),
    ("Memory: an edge after all of this", "{edge_memory_mb:.0f} MiB", "≤ 250"),
    ("Memory: a core with a million wallets", "{core_memory_mb_1m_wallets:.0f} MiB", "≤ 1,024"),
)


def table(figures: Mapping[str, Value]) -> str:
    """The rows whose figures were measured, as Markdown, with what they were measured on."""
    lines = ["| | measured | goal |", "|---|---|---|"]
    for what, measured, goal in ROWS:
        try:
            lines.append(f"| {what.format_map(dict(figures))} | {measured.format_map(dict(figures))} | {goal} |")
        except KeyError:
            continue
    where = f"{figures['hardware']}; commit {str(figures['commit'])[:12]}, {figures['measured_at']}"
    return "\n".join([*lines, "", f"`make bench`: {where}. Load generator, servers and product share the machine."])


def main() -> None:
    """Rewrites the README."""
    before, _, rest = README.read_text().partition(START)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{START}\n{table(json.loads(RESULTS.read_bytes()))}\n{END}{after}")


if __name__ == "__main__":
    main()
