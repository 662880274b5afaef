"""The fault harness: load, faults, and an audit of every answer against PostgreSQL. `python -m tests.faults` runs it.

load.py      clients that repeat until they know, and remember every answer
watch.py     a reader of balances during the run
audit.py     compares what clients were told with what the database says
proxy.py     stands in front of PostgreSQL and drops the answer to a COMMIT
arena.py     one product under load, with the means to hurt it
scenarios.py one function for each fault
"""
