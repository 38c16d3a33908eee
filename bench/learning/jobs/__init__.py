"""Jobs at providers that are what they say, whose limits nobody has told the client."""
