"""Servers, oracles and waiting: what the tests stand on."""
