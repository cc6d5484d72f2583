"""What is done to a training batch before the model sees it, on the device and inside the compiled program."""
