{{- define "meshproof.job" -}}
backoffLimit: 0
activeDeadlineSeconds: {{ .Values.deadlineSeconds }}
template:
  metadata:
    labels: {app.kubernetes.io/name: meshproof-runner}
  spec:
    serviceAccountName: meshproof
    restartPolicy: Never
    terminationGracePeriodSeconds: 120
    {{- with .Values.imagePullSecret }}
    imagePullSecrets:
      - name: {{ . }}
    {{- end }}
    securityContext:
      runAsNonRoot: true
      runAsUser: 65532
      runAsGroup: 65532
      fsGroup: 65532
      seccompProfile: {type: RuntimeDefault}
    containers:
      - name: meshproof
        image: {{ .Values.image }}
        args:
          - run
          - --config=/etc/meshproof/meshproof.yaml
          - --report-configmap={{ .Release.Namespace }}/meshproof-report
          {{- with .Values.pushgateway }}
          - --push-metrics={{ . }}
          {{- end }}
          {{- if .Values.imagePullSecret }}
          - --image-pull-secret=/etc/meshproof-registry/.dockerconfigjson
          {{- end }}
        env:
          - {name: KUBECONFIG, value: /etc/meshproof-peers/kubeconfig}
        resources:
          {{- toYaml .Values.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
        volumeMounts:
          - {name: settings, mountPath: /etc/meshproof, readOnly: true}
          - {name: peers, mountPath: /etc/meshproof-peers, readOnly: true}
          - {name: reports, mountPath: /reports}
          {{- if .Values.imagePullSecret }}
          - {name: registry, mountPath: /etc/meshproof-registry, readOnly: true}
          {{- end }}
    volumes:
      - name: settings
        configMap: {name: meshproof-settings}
      - name: peers
        secret: {secretName: {{ .Values.peersSecret }}}
      {{- with .Values.imagePullSecret }}
      - name: registry
        secret: {secretName: {{ . }}}
      {{- end }}
      - name: reports
        {{- if .Values.reportsClaim }}
        persistentVolumeClaim: {claimName: {{ .Values.reportsClaim }}}
        {{- else }}
        emptyDir: {}
        {{- end }}
{{- end }}
