"""Tests against one running product, with its real PostgreSQL and Valkey."""
