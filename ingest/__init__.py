"""The HTTP tier: decode, who, may they, which shard, enqueue."""
