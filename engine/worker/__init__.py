"""One process: feeder, sender, settler, sweeper."""
