"""A stand-in for Apple's push service that judges like Apple and remembers what it said."""
