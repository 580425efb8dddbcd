"""The sending side: claims jobs from the shards and sends them to APNs."""
