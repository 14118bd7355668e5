"""What a bundle costs on a board: its work counted, boards and their ceilings, and the time predicted from both."""
