# The delegation in a managed zone of Cloud DNS.

variable "zone" {
  description = "the name of the managed zone of example.org"
  type        = string
}

locals {
  # datacenters.<name>.gslb of the fleet file, by family.
  glue = {
    "ns-par1.harbor.example.org A"    = ["192.0.2.53"]
    "ns-par1.harbor.example.org AAAA" = ["2001:db8:1::53"]
    "ns-mad1.harbor.example.org A"    = ["198.51.100.53"]
    "ns-drp1.harbor.example.org A"    = ["203.0.113.53"]
  }
}

resource "google_dns_record_set" "delegation" {
  managed_zone = var.zone
  name         = "harbor.example.org."
  type         = "NS"
  ttl          = 300
  rrdatas      = distinct([for key, _ in local.glue : "${split(" ", key)[0]}."])
}

resource "google_dns_record_set" "glue" {
  for_each     = local.glue
  managed_zone = var.zone
  name         = "${split(" ", each.key)[0]}."
  type         = split(" ", each.key)[1]
  ttl          = 300
  rrdatas      = each.value
}
