"""What a run would cost before it starts: memory, operations, communication and time, on hardware of any kind."""
