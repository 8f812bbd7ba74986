"""The durable ledger: sequencer, store, keys, recovery and reading."""
