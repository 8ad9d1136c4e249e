"""The desk where people judge: Label Studio's projects, what goes there and what comes back."""
