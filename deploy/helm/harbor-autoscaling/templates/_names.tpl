{{/* The official chart's rules, as goharbor/harbor-helm has them in templates/_helpers.tpl. */}}
{{- define "harbor-autoscaling.release" -}}
{{- .Values.harbor.release | default .Release.Name -}}
{{- end -}}

{{- define "harbor-autoscaling.harborName" -}}
{{- .Values.harbor.nameOverride | default "harbor" -}}
{{- end -}}

{{- define "harbor-autoscaling.harbor" -}}
{{- $release := include "harbor-autoscaling.release" . -}}
{{- $name := include "harbor-autoscaling.harborName" . -}}
{{- $full := ternary $release (printf "%s-%s" $release $name) (contains $name $release) -}}
{{- .Values.harbor.fullnameOverride | default $full | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "harbor-autoscaling.metadata" -}}
name: {{ include "harbor-autoscaling.harbor" .root }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  app.kubernetes.io/name: {{ .root.Chart.Name }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
  app.kubernetes.io/component: {{ .component }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}
