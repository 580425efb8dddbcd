"""The ground: words both sides share, and the Redis queues."""
