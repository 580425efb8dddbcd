"""``clarion simulate``: a look-alike of Apple's push service on this machine."""
