"""No property here is about time: on a loaded machine an example may take as long as it takes."""

from hypothesis import settings

settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")
