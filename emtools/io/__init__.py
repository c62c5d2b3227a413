"""Readers and writers of the formats of each field."""
