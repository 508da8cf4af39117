"""Serves the lists over HTTP: our API on the client, or Feast's own server."""
