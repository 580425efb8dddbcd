"""The load test with Locust: tenants that push, what they are answered, and who was at its end, Locust or Clarion."""
