"""What a run keeps in its directory."""
