"""etcd (v3) over its JSON gateway: keys, leases, transactions and watches, with http.client alone."""
