"""The gateway: who is asking, what they may see, how often and how much, and the record of it."""
