"""Where hosts meet that have no etcd: keys, leases and watches, served by the first host's agent."""
