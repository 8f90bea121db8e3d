"""Jobs: deterministic shards, idempotent workers, fragments, one commit; and the engines that drive them."""
