A write that wakes thousands of blocking queries, such as a recursive delete, is answered before them.
