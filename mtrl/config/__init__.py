"""What a run is told: its options, their meaning, and how command lines and files say them."""
