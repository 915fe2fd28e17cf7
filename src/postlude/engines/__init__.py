"""Engines: what samples and what trains. `protocol` is the contract, `local` runs on one machine."""
