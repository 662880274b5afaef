"""BuffMoney: usage in, exact balances out, once and fast.

Read the packages in the order of a request: `edge` takes it, `metering` brings it to the core, `wallets` and `pricing` say what it
means, `ledger` keeps what happened, `base` is what all of them stand on.
"""

__version__ = "0.1.0"
