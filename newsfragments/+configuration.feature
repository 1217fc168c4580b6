Configuration files in HCL and JSON are read with Consul's keys, and checked with its texts.
