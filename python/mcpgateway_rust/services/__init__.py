"""The services of the gateway, by the names of ADR-041."""
