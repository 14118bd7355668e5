"""The reference model: its parts, its graphs, its weights and tokenizer, and itself unit by unit in torch."""
