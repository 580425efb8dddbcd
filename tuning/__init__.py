"""Host profiles and the experiments behind the settings."""
