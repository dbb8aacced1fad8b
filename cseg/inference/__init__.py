"""What a trained network predicts, and how good that is."""
