`/v1/kv/PREFIX?keys&separator=/` takes as long as there are names in its answer, not as there are keys.
