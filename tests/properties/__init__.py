"""Tests of the Rust core against the plain-Python oracle."""
