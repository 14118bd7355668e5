"""What people look at: the terminal's live line, tables and bars."""
