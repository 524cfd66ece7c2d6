"""Tasks in flight: split, send, gather, retry, hedge; and the serving of other nodes' tasks."""
