"""The demo: the whole gateway and a look-alike of Apple on this machine, judged by the look-alike's ledger."""
