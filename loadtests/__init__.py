"""A locust file for platform teams, and `python -m loadtests` to run it bounded and without a browser."""
