{{/* Everything that would render and not work, as a sentence each. The fleet file itself is checked by "breakwater check". */}}
{{- define "breakwater.check" -}}
{{- include "breakwater.checkFleet" . -}}
{{- $facts := include "breakwater.facts" . | fromYaml -}}
{{- include "breakwater.checkChanges" (dict "root" . "facts" $facts) -}}
{{- if .Values.edge.enabled -}}
{{- include "breakwater.checkEdge" (dict "root" . "facts" $facts) -}}
{{- include "breakwater.checkConsole" (dict "root" . "facts" $facts) -}}
{{- include "breakwater.checkReferences" (dict "root" . "facts" $facts "component" "edge") -}}
{{- end -}}
{{- if .Values.gslb.enabled -}}
{{- include "breakwater.checkGSLB" (dict "root" . "facts" $facts) -}}
{{- include "breakwater.checkReferences" (dict "root" . "facts" $facts "component" "gslb") -}}
{{- end -}}
{{- if or .Values.provision.job.enabled .Values.provision.cronJob.enabled -}}
{{- include "breakwater.checkReferences" (dict "root" . "facts" $facts "component" "provision") -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.checkFleet" -}}
{{- if and .Values.fleetFile (or .Values.fleet .Values.fleetConfigMap) -}}
{{- fail "fleetFile: there is fleet or fleetConfigMap too; keep one of the three" -}}
{{- end -}}
{{- if not (or .Values.fleetFile .Values.fleet .Values.fleetConfigMap) -}}
{{- fail "fleet: there is no fleet file; give it with --set-file fleetFile=fleet.yaml, write it below fleet, or name a ConfigMap in fleetConfigMap" -}}
{{- end -}}
{{- $fleet := include "breakwater.fleet" . | fromYaml -}}
{{- if hasKey $fleet "Error" -}}
{{- fail (printf "fleetFile: it is no YAML: %s" $fleet.Error) -}}
{{- end -}}
{{- $names := keys ($fleet.datacenters | default dict) | sortAlpha -}}
{{- if not .Values.datacenter -}}
{{- fail (printf "datacenter: it is missing; say which of the fleet file's this is: %s" (join ", " $names)) -}}
{{- end -}}
{{- if and (or $names (not .Values.fleetConfigMap)) (not (has .Values.datacenter $names)) -}}
{{- fail (printf "datacenter: there is no datacenter %q in the fleet file; it has %s" .Values.datacenter (join ", " $names)) -}}
{{- end -}}
{{- if and (not .Values.fleetFile) (not .Values.fleetConfigMap) (gt (len $names) 1) (eq (dig "gslb" "method" "" $fleet) "failover") (not (dig "gslb" "order" "" $fleet)) -}}
{{- fail "fleet.gslb.order: it is missing; with method failover datacenters count as they stand in the file, and Helm sorts them: write the order, or give the file with --set-file fleetFile=fleet.yaml" -}}
{{- end -}}
{{- end -}}

{{/* An address that other pods, or the kubelet, have to reach. */}}
{{- define "breakwater.checkListen" -}}
{{- if not (regexMatch ":[0-9]+$" .address) -}}
{{- fail (printf "%s: %q has no port in numbers; write :443" .field .address) -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost|\\[::1\\])" .address -}}
{{- fail (printf "%s: %s cannot be reached from outside of the pod; write :%s" .field .address (include "breakwater.port" .address)) -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.checkEdge" -}}
{{- $edge := .root.Values.edge -}}
{{- $facts := .facts -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.edge.listen" "address" $facts.listen) -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.edge.metrics" "address" $facts.metrics) -}}
{{- $given := or $edge.tls.secretName $edge.tls.certManager.enabled -}}
{{- if not (or $facts.plain $facts.certificate) -}}
{{- fail "fleet.edge.tls: there is no certificate and the edge would not start; write edge.tls in the fleet file, or edge.plain_http: true behind something that terminates TLS" -}}
{{- end -}}
{{- range $field, $front := dict "edge.ingress" $edge.ingress "edge.httpRoute" $edge.httpRoute -}}
{{- if and $front.enabled (not $facts.plain) -}}
{{- fail (printf "%s.enabled: the edge terminates TLS itself (edge.tls in the fleet file); use its LoadBalancer Service, or write edge.plain_http: true in the fleet file" $field) -}}
{{- end -}}
{{- end -}}
{{- if and $edge.httpRoute.enabled (not $edge.httpRoute.parentRefs) -}}
{{- fail "edge.httpRoute.parentRefs: it is missing; name the Gateway" -}}
{{- end -}}
{{- if and $facts.plain $given -}}
{{- fail "edge.tls: the fleet file says edge.plain_http, so the edge has no use for a certificate; give it to what terminates TLS" -}}
{{- end -}}
{{- if and $edge.tls.secretName $edge.tls.certManager.enabled -}}
{{- fail "edge.tls.secretName: cert-manager makes the certificate (edge.tls.certManager.enabled); keep one of the two" -}}
{{- end -}}
{{- if and $edge.tls.certManager.enabled (not $edge.tls.certManager.issuerRef.name) -}}
{{- fail "edge.tls.certManager.issuerRef: it is missing; write name and kind of the Issuer or ClusterIssuer" -}}
{{- end -}}
{{- if and $given (not (and (hasPrefix "/etc/breakwater/" $facts.certificate) (hasPrefix "/etc/breakwater/" $facts.key))) -}}
{{- fail (printf "fleet.edge.tls: %s and %s: the chart puts the certificate below /etc/breakwater; name it there in the fleet file, or mount it with edge.extraVolumes instead of edge.tls" $facts.certificate $facts.key) -}}
{{- end -}}
{{- if not (or $given $facts.plain) -}}
{{- range list $facts.certificate $facts.key -}}
{{- if not (include "breakwater.mounted" (dict "root" $.root "component" "edge" "path" .)) -}}
{{- fail (printf "edge.tls: the fleet file's edge.tls names %s, and nothing puts it there; set edge.tls.secretName or edge.tls.certManager.enabled" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (or $edge.ingress.enabled $edge.httpRoute.enabled $edge.tls.certManager.enabled) (not $facts.hosts) -}}
{{- fail "edge.hosts: the domain stands in a ConfigMap that the chart cannot read; write the names" -}}
{{- end -}}
{{- if and $edge.autoscaling.enabled $edge.autoscaling.cpu (not (dig "requests" "cpu" "" $edge.resources)) -}}
{{- fail "edge.autoscaling.cpu: it is per cent of edge.resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- if and $edge.autoscaling.enabled (not (or $edge.autoscaling.cpu $edge.autoscaling.pods $edge.autoscaling.metrics)) -}}
{{- fail "edge.autoscaling: there is no metric to scale by; set cpu, pods or metrics" -}}
{{- end -}}
{{- if and $edge.autoscaling.enabled (gt (int $edge.autoscaling.minReplicas) (int $edge.autoscaling.maxReplicas)) -}}
{{- fail (printf "edge.autoscaling.minReplicas: %d is more than maxReplicas, %d" (int $edge.autoscaling.minReplicas) (int $edge.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}

{{/* The console's listener, and the files that it reads. */}}
{{- define "breakwater.checkConsole" -}}
{{- $facts := .facts -}}
{{- with $facts.console -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.edge.console.listen" "address" .) -}}
{{- end -}}
{{- $fleet := include "breakwater.fleet" .root | fromYaml -}}
{{- $console := ($fleet.edge | default dict).console | default dict -}}
{{- $tls := $console.tls | default dict -}}
{{- range list $tls.certificate $tls.key $console.users | compact -}}
{{- $given := or $.root.Values.edge.tls.secretName $.root.Values.edge.tls.certManager.enabled -}}
{{- if not (or (and $given (has . (list $facts.certificate $facts.key))) (include "breakwater.mounted" (dict "root" $.root "component" "edge" "path" .))) -}}
{{- fail (printf "secrets: the fleet file's edge.console names %s, and no Secret is mounted there; add one to secrets, for the edge" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The volume that provision writes to and edges read is mounted where the fleet file says. */}}
{{- define "breakwater.checkChanges" -}}
{{- if .root.Values.changes.claim -}}
{{- $dir := dir .facts.changes -}}
{{- if not .facts.changes -}}
{{- fail "changes.claim: the fleet file does not say where; write edge.changes: /var/lib/breakwater-changes/last.json" -}}
{{- end -}}
{{- if or (not (isAbs .facts.changes)) (has $dir (list "/" .facts.store)) (hasPrefix "/etc/breakwater/" (printf "%s/" $dir)) -}}
{{- fail (printf "fleet.edge.changes: %s has no directory of its own, in which the volume is mounted; write /var/lib/breakwater-changes/last.json" .facts.changes) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "breakwater.checkGSLB" -}}
{{- $fleet := include "breakwater.fleet" .root | fromYaml -}}
{{- if not (or (hasKey $fleet "gslb") .root.Values.fleetConfigMap) -}}
{{- fail "gslb.enabled: the fleet file has no gslb section; write gslb: {}, and the addresses of its name servers (datacenters.<name>.gslb)" -}}
{{- end -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.gslb.listen" "address" .facts.gslbListen) -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.gslb.metrics" "address" .facts.gslbMetrics) -}}
{{- with .facts.gslbPeers -}}
{{- include "breakwater.checkListen" (dict "field" "fleet.gslb.peers" "address" .) -}}
{{- end -}}
{{- end -}}

{{/* "true" where a pod of the component has a file of that path from a Secret or a volume. */}}
{{- define "breakwater.mounted" -}}
{{- $found := hasPrefix "/var/run/secrets/kubernetes.io/" .path -}}
{{- range .root.Values.secrets -}}
{{- if has $.component (.for | default (list "edge" "gslb" "provision")) -}}
{{- if .files -}}
{{- $found = or $found (hasKey .files $.path) -}}
{{- else -}}
{{- $found = or $found (hasPrefix (printf "%s/" (.mountPath | default (printf "/etc/breakwater/secrets/%s" .name))) $.path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range (get .root.Values .component).extraVolumeMounts -}}
{{- $found = or $found (eq .mountPath $.path) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $.path) -}}
{{- end -}}
{{- ternary "true" "" $found -}}
{{- end -}}

{{/*
Files that are put below /etc/breakwater one by one make their first directory a link,
in which no Secret can be mounted as a directory.
*/}}
{{- define "breakwater.checkMounts" -}}
{{- $component := .component -}}
{{- $files := list -}}
{{- if and (eq $component "edge") (or .root.Values.edge.tls.secretName .root.Values.edge.tls.certManager.enabled) -}}
{{- $files = list .facts.certificate .facts.key -}}
{{- end -}}
{{- $directories := list -}}
{{- range .root.Values.secrets -}}
{{- if has $component (.for | default (list "edge" "gslb" "provision")) -}}
{{- if .files -}}
{{- $files = concat $files (keys .files) -}}
{{- else -}}
{{- $directories = append $directories (.mountPath | default (printf "/etc/breakwater/secrets/%s" .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $file := $files -}}
{{- $first := regexFind "^/etc/breakwater/[^/]+/" $file -}}
{{- range $directory := $directories -}}
{{- if and $first (hasPrefix $first (printf "%s/" $directory)) -}}
{{- fail (printf "secrets: %s is mounted as a directory, and %s is a single file below %s: Kubernetes cannot do both; give one of them another path" $directory $file $first) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Secrets that the component looks up in files and variables have to be in its pods. */}}
{{- define "breakwater.checkReferences" -}}
{{- $component := .component -}}
{{- include "breakwater.checkMounts" . -}}
{{- $fleet := include "breakwater.fleet" .root | fromYaml -}}
{{- $read := list (dig "edge" "robot" "" $fleet) (omit ($fleet.harbor | default dict) "token_certificates") $fleet.projects $fleet.secrets -}}
{{- if eq $component "edge" -}}
{{- $console := ($fleet.edge | default dict).console | default dict -}}
{{- /* The console is Harbor's client at the provider where it has none of its own. */ -}}
{{- $read = list $fleet.edge (ternary (dig "harbor" "oidc" "client_secret" "" $fleet) "" (and (hasKey $console "groups") (not $console.client_id))) (dig "harbor" "token_certificates" "" $fleet) (dig "projects" "cache" "" $fleet) -}}
{{- else if eq $component "gslb" -}}
{{- $read = list $fleet.gslb -}}
{{- end -}}
{{- range regexFindAll "(file|env):[^\\s\"',\\]}]+" (toYaml $read) -1 | uniq -}}
{{- $at := regexReplaceAll "^(file|env):" . "" -}}
{{- if hasPrefix "file:" . -}}
{{- if not (include "breakwater.mounted" (dict "root" $.root "component" $component "path" $at)) -}}
{{- fail (printf "secrets: the fleet file names %s for the %s, and no Secret is mounted there; add one to secrets, or a volume to %s.extraVolumes" . $component $component) -}}
{{- end -}}
{{- else -}}
{{- $found := false -}}
{{- range $.root.Values.env -}}
{{- $found = or $found (and (eq .name $at) (has $component (.for | default (list "edge" "gslb" "provision")))) -}}
{{- end -}}
{{- if not $found -}}
{{- fail (printf "env: the fleet file names %s for the %s, and its pods have no such variable; add it to env, from a Secret" . $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
