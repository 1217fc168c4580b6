A server that left, or that was cut off for some time, asks the other servers who leads and passes requests on, long before it is taken in again.
