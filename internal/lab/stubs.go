package lab

func (h *Harbor) webhookRoutes() []route { return nil }
func (h *Harbor) artifactRoutes() []route {
	return append(h.immutableRoutes(), route{method: "GET", path: "/replication/executions", check: inSystem("replication", "list"), serve: func(c *apiCall) error { return c.list(nil, "id") }})
}
