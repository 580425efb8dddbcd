"""A server that says yes, as fast as it can: what is measured against it is the client, not the server."""
