"""Tests: unit, integration (one real product), properties (against an independent model) and faults."""
