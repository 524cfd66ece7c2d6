"""One link over several paths: its ends, its transport, and how paths come to it."""
