"""What the folders of tests share: `kit` to all, since pytest puts tests/ on the path."""
