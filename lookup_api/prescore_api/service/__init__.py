"""The lookup service without a transport: lookups, models, API keys, metrics."""
