"""The reference streaming model in torch, and what turns it into a bundle. The only folder that imports torch."""
