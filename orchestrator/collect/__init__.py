"""What an image comes to once its fits are done."""
