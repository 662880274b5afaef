"""The fault harness: load, faults, and an audit of every answer against PostgreSQL. `python -m tests.faults` runs it.

load.py      clients that repeat until they know, and remember every answer
watch.py     a reader of balances during the run
audit.py     compares what clients were told with what the database says
proxy.py     stands in front of PostgreSQL and drops the answer to a COMMIT
arena.py     one product under load, with the means to hurt it
scenarios.py one function for each fault
payments.py  a kill between every two steps of paying and refunding
till.py      a product behind proxies, its merchant and a payer
course.py    the steps that are counted, and the kill at one of them
wires.py     the proxies, which know where a message of PostgreSQL's, Redis' or HTTP's ends
truth.py     compares wallets and books with the channels' own records
"""
