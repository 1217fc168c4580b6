"""What a DNS question means and which records answer it, pure."""
