"""splatlens: viewer, converter and server for trained radiance fields."""

__version__ = "0.1.0"
