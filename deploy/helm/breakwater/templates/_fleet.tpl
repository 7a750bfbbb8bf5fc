{{/* The fleet file's text, as it is mounted; empty where something else keeps it. */}}
{{- define "breakwater.fleetText" -}}
{{- if .Values.fleetFile -}}
{{ .Values.fleetFile }}
{{- else if not .Values.fleetConfigMap -}}
{{ toYaml .Values.fleet }}
{{- end -}}
{{- end -}}

{{/* The fleet file as data, in YAML: of its text, or what is known of somebody else's. */}}
{{- define "breakwater.fleet" -}}
{{- if .Values.fleetFile -}}
{{ .Values.fleetFile | fromYaml | toYaml }}
{{- else -}}
{{ toYaml .Values.fleet }}
{{- end -}}
{{- end -}}

{{/*
What follows from the fleet file, with the program's own defaults (internal/fleet),
so that one file serves all deployments. Strings, all of them.
*/}}
{{- define "breakwater.facts" -}}
{{- $fleet := include "breakwater.fleet" . | fromYaml -}}
{{- $edge := $fleet.edge | default dict -}}
{{- $gslb := $fleet.gslb | default dict -}}
{{- $plain := $edge.plain_http | default false -}}
{{- $own := get ($fleet.datacenters | default dict) .Values.datacenter | default dict -}}
{{- $tls := $edge.tls | default dict -}}
{{- if and .Values.fleetConfigMap (not $tls) (not $plain) -}}
{{- $tls = dict "certificate" "/etc/breakwater/tls.crt" "key" "/etc/breakwater/tls.key" -}}
{{- end -}}
{{- $hosts := .Values.edge.hosts -}}
{{- if not $hosts -}}
{{- $hosts = list $fleet.domain (get (urlParse ($own.edge | default "")) "hostname") | compact | uniq -}}
{{- end -}}
{{- $front := or .Values.edge.ingress.enabled .Values.edge.httpRoute.enabled -}}
{{- dict
  "domain" ($fleet.domain | default "")
  "hosts" $hosts
  "plain" (ternary "true" "" $plain)
  "listen" ($edge.listen | default (ternary ":80" ":443" $plain))
  "metrics" ($edge.metrics | default ":9090")
  "console" (include "breakwater.console" $edge)
  "changes" ($edge.changes | default "")
  "certificate" ($tls.certificate | default "")
  "key" ($tls.key | default "")
  "peersCA" (dig "peers" "ca" "" $edge)
  "store" (dig "store" "path" "/var/lib/breakwater" $edge)
  "storeSize" (include "breakwater.volume" (dig "store" "size" "100GiB" $edge))
  "serviceType" (.Values.edge.service.type | default (ternary "ClusterIP" "LoadBalancer" $front))
  "gslbListen" ($gslb.listen | default ":53")
  "gslbMetrics" ($gslb.metrics | default ":9092")
  "gslbPeers" (include "breakwater.gslbPeers" $gslb)
  "gslbState" ($gslb.state | default "/var/lib/breakwater/gslb.json")
  "vaultByKubernetes" (ternary "true" "" (hasKey (dig "secrets" "vault" "login" dict $fleet) "kubernetes"))
  "outPorts" (include "breakwater.outPorts" (toYaml $fleet) | splitList " ")
  | toYaml -}}
{{- end -}}

{{/* What an edge takes from the fleet file at its start alone. */}}
{{- define "breakwater.edgeStart" -}}
{{- $fleet := include "breakwater.fleet" . | fromYaml -}}
{{- $edge := $fleet.edge | default dict -}}
{{- $own := get ($fleet.datacenters | default dict) .Values.datacenter | default dict -}}
{{- dict
  "listeners" (pick $edge "listen" "metrics" "admin" "plain_http")
  "console" (pick ($edge.console | default dict) "listen")
  "tls" (hasKey $edge "tls")
  "store" ($edge.store | default dict)
  "harbor" ($own.harbor | default "")
  "key" (hasKey ($edge.peers | default dict) "key")
  | toJson -}}
{{- end -}}

{{/* Where the console is for who is not in the pod; what is on loopback is for kubectl port-forward. */}}
{{- define "breakwater.console" -}}
{{- $at := (.console | default dict).listen | default "" -}}
{{- if not (regexMatch "^(127\\.|localhost|\\[::1\\])" $at) }}{{ $at }}{{ end -}}
{{- end -}}

{{/* Where name servers take signed questions: with a key, and where it is not switched off. */}}
{{- define "breakwater.gslbPeers" -}}
{{- $at := ":9094" -}}
{{- if hasKey . "peers" }}{{ $at = .peers | default "off" }}{{ end -}}
{{- if and .key (ne $at "off") }}{{ $at }}{{ end -}}
{{- end -}}

{{/* The port of an address to listen on. */}}
{{- define "breakwater.port" -}}
{{- regexReplaceAll "^.*:" . "" -}}
{{- end -}}

{{/* A volume for a store of that size, in Gi: 15 % more. The fleet file's units are KiB and KB. */}}
{{- define "breakwater.volume" -}}
{{- $text := . | toString -}}
{{- if not (kindIs "string" .) }}{{ $text = . | int64 | toString }}{{ end -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "TiB" 1099511627776 "PiB" 1125899906842624 "KB" 1000 "MB" 1000000 "GB" 1000000000 "TB" 1000000000000 "PB" 1000000000000000 -}}
{{- $bytes := mulf (trimSuffix $unit $text | trim | float64) (get $factors $unit | default 1) -}}
{{- max 1 (divf (mulf $bytes 1.15) 1073741824 | ceil | int64) }}Gi
{{- end -}}

{{/* The ports of all addresses in the fleet file: what its programs connect to. */}}
{{- define "breakwater.outPorts" -}}
{{- $ports := list 443 -}}
{{- range regexFindAll "(https?|tcp)://[^/ \"',}]+" . -1 -}}
{{- $port := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- $ports = append $ports (int (default (ternary "80" "443" (hasPrefix "http://" .)) $port)) -}}
{{- end -}}
{{- $padded := list -}}
{{- range $ports }}{{ $padded = append $padded (printf "%05d" .) }}{{ end -}}
{{- $sorted := list -}}
{{- range $padded | uniq | sortAlpha }}{{ $sorted = append $sorted (regexReplaceAll "^0+" . "") }}{{ end -}}
{{- join " " $sorted -}}
{{- end -}}
