"""The only door to the API server. Import the modules; nothing is re-exported here."""
