Thousands who wait for one change with the same request are asked for once and answered with one rendering, in turns; the writer's own answer no longer waits for them.
