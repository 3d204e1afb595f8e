"""Protocol brains: pure functions and values that see bytes and times, never sockets or clocks."""
