"""What travels and what is stored: msgspec Structs with the field names of Consul."""
