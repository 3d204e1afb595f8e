"""The IO of `send` and `recv`: drives the protocol of `pync.proto` over a channel, reads and writes files."""
