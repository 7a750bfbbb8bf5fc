#!/bin/sh
# The delegation in a managed zone of Cloud DNS: records.sh <name of the zone of example.org>
set -eu
zone=$1

add() { # name type data
	gcloud dns record-sets create "$1" --zone="$zone" --type="$2" --ttl=300 --rrdatas="$3"
}

# Glue first: a delegation to servers that nobody finds would be remembered.
add ns-par1.harbor.example.org. A 192.0.2.53
add ns-par1.harbor.example.org. AAAA 2001:db8:1::53
add ns-mad1.harbor.example.org. A 198.51.100.53
add ns-drp1.harbor.example.org. A 203.0.113.53
add harbor.example.org. NS ns-par1.harbor.example.org.,ns-mad1.harbor.example.org.,ns-drp1.harbor.example.org.
