"""What a run would cost before it starts: memory, operations, communication, time; on hardware that need not be there."""
