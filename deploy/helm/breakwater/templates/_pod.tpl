{{/* What all pods have in common. */}}
{{- define "breakwater.pod" -}}
{{- $values := get .root.Values .component -}}
serviceAccountName: {{ .serviceAccount | default (include "breakwater.serviceAccount" .root) }}
# Kubernetes itself is never asked for anything; Vault is shown the token where the fleet file says so.
automountServiceAccountToken: {{ .facts.vaultByKubernetes | default "false" }}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
  {{- if .low }}
  # Ports below 1024 without root and without a capability: this sysctl is safe, and the pod's own.
  sysctls:
    - name: net.ipv4.ip_unprivileged_port_start
      value: "0"
  {{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "breakwater.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What all containers have in common. */}}
{{- define "breakwater.container" -}}
{{- $values := get .root.Values .component -}}
image: {{ include "breakwater.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/breakwater]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  {{- if dig "limits" "memory" "" $values.resources }}
  # The collector works harder as the limit comes near, instead of meeting it. What the kernel caches of the store
  # counts as the container's too, but is given back first.
  - name: GOMEMLIMIT
    valueFrom:
      resourceFieldRef:
        resource: limits.memory
  {{- end }}
  {{- range .root.Values.env }}
  {{- if has $.component (.for | default (list "edge" "gslb" "provision")) }}
  - name: {{ .name }}
    {{- if .secret }}
    valueFrom:
      secretKeyRef:
        name: {{ .secret }}
        key: {{ .key }}
    {{- else }}
    value: {{ .value | quote }}
    {{- end }}
  {{- end }}
  {{- end }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end -}}

{{- define "breakwater.volumeMounts" -}}
- name: etc
  mountPath: /etc/breakwater
  readOnly: true
{{- range .root.Values.secrets }}
{{- if and (not .files) (has $.component (.for | default (list "edge" "gslb" "provision"))) }}
- name: {{ printf "secret-%s" .name | replace "." "-" | trunc 63 | trimSuffix "-" }}
  mountPath: {{ .mountPath | default (printf "/etc/breakwater/secrets/%s" .name) }}
  readOnly: true
{{- end }}
{{- end }}
{{- if and .changes .root.Values.changes.claim }}
- name: changes
  mountPath: {{ dir .facts.changes }}
  readOnly: {{ eq .changes "read" }}
{{- end }}
{{- with (get .root.Values .component).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
/etc/breakwater is one volume of several sources, so that files lie where the fleet
file says, and all are replaced as they change, which the programs see. Only a pod's
group may read them: it is fsGroup.
*/}}
{{- define "breakwater.volumes" -}}
- name: etc
  projected:
    defaultMode: 0440
    sources:
      - configMap:
          name: {{ .configMap | default (include "breakwater.configMap" .root) }}
          items:
            - key: fleet.yaml
              path: fleet.yaml
      {{- with .certificate }}
      - secret:
          name: {{ . }}
          items:
            - key: tls.crt
              path: {{ trimPrefix "/etc/breakwater/" $.facts.certificate }}
            - key: tls.key
              path: {{ trimPrefix "/etc/breakwater/" $.facts.key }}
      {{- end }}
      {{- range .root.Values.secrets }}
      {{- if and .files (has $.component (.for | default (list "edge" "gslb" "provision"))) }}
      - secret:
          name: {{ .name }}
          items:
            {{- range $path, $key := .files }}
            - key: {{ $key }}
              path: {{ trimPrefix "/etc/breakwater/" $path }}
            {{- end }}
      {{- end }}
      {{- end }}
{{- range .root.Values.secrets }}
{{- if and (not .files) (has $.component (.for | default (list "edge" "gslb" "provision"))) }}
- name: {{ printf "secret-%s" .name | replace "." "-" | trunc 63 | trimSuffix "-" }}
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- if and .changes .root.Values.changes.claim }}
- name: changes
  persistentVolumeClaim:
    claimName: {{ .root.Values.changes.claim }}
{{- end }}
{{- with (get .root.Values .component).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
