"""`buffmoney usage import`: a file of usage into the service, line by line, over its public API.

Owns nothing but the file's reading. Idempotency: every event's key is made of the prefix, the number of its line and its metric, so the
same file with the same prefix is the same import, however often it runs and wherever it was interrupted. A crash leaves what was
answered; the next run finds it as duplicates and sends the rest.
"""

from buffmoney.importing.run import import_usage

__all__ = ["import_usage"]
