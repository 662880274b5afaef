"""The hosted checkout in real Chromium."""
