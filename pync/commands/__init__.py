"""What pync does: one module, one `run` and one Options class a command; nothing here prints."""
