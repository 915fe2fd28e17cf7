"""What every implementation of a contract must do. A new engine, source or reward is added to the list of each."""
