"""The options of every command; nothing heavy is imported here."""
