"""The doing side: sockets, clock, buffers, worker threads and disk around the deciding Node."""
