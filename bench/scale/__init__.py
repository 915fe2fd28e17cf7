"""What several processes cost beside training: the driver's share of a step, weights on their way, ranks, servers."""
