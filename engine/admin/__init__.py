"""The admin API: tenants, applications, credentials and API keys over HTTP, for whoever runs the gateway."""
