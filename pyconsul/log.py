"""Temporary."""
import txaio
txaio.use_twisted()
def make_logger(namespace):
    return txaio.make_logger()
