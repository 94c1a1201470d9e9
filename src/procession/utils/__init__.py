"""Small things that torch's elastic package has under this name."""
