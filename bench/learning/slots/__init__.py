"""Jobs at providers that limit or queue the calls in flight without saying so."""
