"""RPC methods, one class a family, each method declared once."""
