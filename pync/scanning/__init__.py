"""The scan engine's hands: sockets, look-ups and worker processes around the brain in proto/schedule."""
