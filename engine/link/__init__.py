"""The network edge: dial, one link, the pools of links."""
