"""The chain as Podium needs it: endpoints, heads, contracts, views, transactions, accounts."""
