"""What a sweep found, to look at: one page and three pictures."""
