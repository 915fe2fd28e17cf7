"""Several processes that train one model together: FSDP2 ranks as Ray actors, and the trainer that drives them."""
