"""What plays the part of a call that a system does not have. Not imported where there is the real one."""
