# The delegation in a hosted zone of Route 53.

variable "zone_id" {
  description = "the hosted zone of example.org"
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

resource "aws_route53_record" "delegation" {
  zone_id = var.zone_id
  name    = "harbor.example.org"
  type    = "NS"
  ttl     = 300
  records = distinct([for key, _ in local.glue : "${split(" ", key)[0]}."])
}

resource "aws_route53_record" "glue" {
  for_each = local.glue
  zone_id  = var.zone_id
  name     = split(" ", each.key)[0]
  type     = split(" ", each.key)[1]
  ttl      = 300
  records  = each.value
}
