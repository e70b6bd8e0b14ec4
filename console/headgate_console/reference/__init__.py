"""The generated pages of the reference: settings, commands, tables. Each is written from what the code reads."""
