{{- define "chartloop.labels" -}}
app.kubernetes.io/name: chartloop
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What selects the pods of one part; call with (list . "gateway"). */}}
{{- define "chartloop.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: chartloop
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "chartloop.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{- define "chartloop.mlflowUrl" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ .Release.Name }}-mlflow:5000
{{- else -}}
{{ required "mlflow.url is needed where mlflow.enabled is false" .Values.mlflow.url }}
{{- end -}}
{{- end }}

{{- define "chartloop.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "chartloop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where versions and the ledger are. */}}
{{- define "chartloop.environment" -}}
- name: CHARTLOOP_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: url}}
- name: MLFLOW_TRACKING_URI
  value: {{ include "chartloop.mlflowUrl" . }}
{{- end }}

{{- define "chartloop.settings" -}}
fallback: {mode: {{ .Values.gateway.fallback | quote }}}
triton: {device: {{ .Values.triton.device }}, max_pass_tokens: {{ eq .Values.triton.device "gpu" | ternary 32768 8192 }}}
observability:
  otlp_endpoint: {{ .Values.monitoring.otlpEndpoint | default nil | toJson }}
  sample_share: {{ .Values.monitoring.sampleShare }}
{{- end }}
