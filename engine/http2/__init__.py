"""A sans-IO HTTP/2 client codec for many small POSTs: batches in, bytes out; bytes in, events out."""
