{{/* The pod that runs provision once. Takes (dict "root" $ "args" (list …)). */}}
{{- define "breakwater.provision" -}}
{{- $c := dict "root" .root "component" "provision" "changes" "write" "facts" (include "breakwater.facts" .root | fromYaml) -}}
metadata:
  labels:
    {{- include "breakwater.selector" $c | nindent 4 }}
    {{- with .root.Values.provision.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .root.Values.provision.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "breakwater.pod" $c | nindent 2 }}
  # A new pod for each try, so that the log of each is kept.
  restartPolicy: Never
  # It stops between objects.
  terminationGracePeriodSeconds: 60
  containers:
    - name: provision
      {{- include "breakwater.container" $c | nindent 6 }}
      args:
        {{- concat (list "provision") .args (list "--config" "/etc/breakwater/fleet.yaml") .root.Values.provision.args | toYaml | nindent 8 }}
      volumeMounts:
        {{- include "breakwater.volumeMounts" $c | nindent 8 }}
  volumes:
    {{- include "breakwater.volumes" $c | nindent 4 }}
{{- end -}}
