"""Money in: top-ups, payment orders, the channels, the hosted checkout, refunds."""
