"""What a run is made of, and whether it still is when the run goes on: fingerprints, and their comparison."""
