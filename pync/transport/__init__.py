"""The one door to the network and to the streams we were given."""
