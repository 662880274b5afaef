"""Benchmarks: `python -m benches` measures a real `buffmoney up` against bare COPY and writes benches/results/latest.json."""
