"""What a call costs in the scheduler: CPU, memory, and how punctual it is."""
