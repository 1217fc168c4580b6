# Sample configuration of a server; put it into /etc/pyconsul/. docs/reference/configuration explains
# every setting.

datacenter = "dc1"
data_dir   = "/var/lib/pyconsul"
log_level  = "INFO"

server           = true
bootstrap_expect = 3

# The address that other agents reach this one at.
bind_addr = "{{ GetPrivateIP }}"
# The API and DNS, for this machine only.
client_addr = "127.0.0.1"

# Any of the others is enough; this machine's own address does no harm.
retry_join = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

# Encrypt gossip: a key from "pyconsul keygen", the same everywhere.
# encrypt = "..."

# Encrypt requests, from "pyconsul tls ca create" and "pyconsul tls cert create -server".
# ca_file   = "/etc/pyconsul/consul-agent-ca.pem"
# cert_file = "/etc/pyconsul/dc1-server-consul-0.pem"
# key_file  = "/etc/pyconsul/dc1-server-consul-0-key.pem"
# verify_incoming        = true
# verify_outgoing        = true
# verify_server_hostname = true

performance {
  raft_multiplier = 1
}

service {
  name = "web"
  port = 80

  check {
    http     = "http://127.0.0.1:80/health"
    interval = "10s"
    timeout  = "2s"
  }
}
