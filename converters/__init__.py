"""Readers and writers of other formats: one file a format, one registry line each."""
