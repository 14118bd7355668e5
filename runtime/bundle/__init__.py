"""What a bundle is: its manifest, its files, its tokenizer and tables; opened strictly, as a folder or an archive."""
